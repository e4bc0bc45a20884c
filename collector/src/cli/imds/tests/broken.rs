//! Files that are cut, garbled or none.

use super::made::{exchange, pcap, pcapng};
use super::{DecodeError, run};

#[test]
fn broken_files_name_the_packet() {
    let whole = pcap(101, &exchange(), false, 65535);
    let message = |file: &[u8]| {
        let (result, document) = run(file);
        let error = result.unwrap_err();
        (crate::cli::chain(&error), document)
    };
    let (text, document) = message(&whole[..whole.len() - 1]);
    // The file's header, and two packets with theirs.
    let frames = exchange();
    let third = 24 + 16 + frames[0].len() + 16 + frames[1].len();
    assert_eq!(
        text,
        format!("decoding test.pcap, packet 3 at byte {third}: the file ends in the middle of it")
    );
    // What was complete is told, in a whole document.
    assert_eq!(document["events"][0]["outcome"], "no_response");
    let text = message(b"GET / HTTP/1.1\r\n and more than the length of a header").0;
    assert_eq!(
        text,
        "decoding test.pcap, packet 1 at byte 0: this is neither pcap nor pcapng"
    );
    for (short, why) in [
        (&[][..], "the file is empty"),
        (&whole[..10], "the file ends in the middle of it"),
    ] {
        let expect = format!("decoding test.pcap, packet 1 at byte 0: {why}");
        assert_eq!(message(short).0, expect);
    }
    let text = message(&pcap(147, &exchange(), false, 65535)).0;
    assert!(
        text.contains("packet 1 at byte 24: its link type 147"),
        "{text}"
    );
    let newer = pcapng(101, &exchange());
    let text = message(&newer[..newer.len() - 3]).0;
    assert!(text.contains("packet 3 at byte "), "{text}");
    let mut bad = newer.clone();
    // The first packet's interface.
    let at = newer
        .windows(4)
        .position(|kind| kind == [6, 0, 0, 0])
        .unwrap();
    bad[at + 8] = 9;
    let text = message(&bad).0;
    assert_eq!(
        text,
        format!("decoding test.pcap, packet 1 at byte {at}: its interface 9 is not described")
    );
}

/// Wherever a capture is cut: it is whole up to there, or the message names the block that is not.
fn check_every_cut(whole: &[u8], blocks: &[usize]) {
    for len in 1..whole.len() {
        let begin = *blocks.iter().rfind(|begin| **begin <= len).unwrap();
        let near_an_end = blocks.iter().any(|begin| begin.saturating_sub(len) == 1);
        // Each byte of a block's head; of its inside some.
        if len - begin > 20 && !near_an_end && len % 64 != 0 {
            continue;
        }
        match run(&whole[..len]).0 {
            Ok(_) => assert!(begin == len, "cut at {len}, and nobody saw it"),
            Err(DecodeError::Capture { offset, .. }) => {
                assert_eq!(offset, begin as u64, "cut at {len}");
                assert!(begin != len, "cut at {len}, which is between two blocks");
            }
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
}

#[test]
fn every_cut_is_seen_where_it_is() {
    let frames = exchange();
    let mut blocks = vec![0];
    let mut end = 24;
    for frame in &frames {
        blocks.push(end);
        end += 16 + frame.len();
    }
    check_every_cut(&pcap(101, &frames, false, 65535), &blocks);

    let newer = pcapng(101, &frames);
    let mut blocks = vec![0];
    while let Some(len) = newer
        .get(blocks[blocks.len() - 1] + 4..)
        .and_then(|rest| rest.first_chunk())
    {
        blocks.push(blocks[blocks.len() - 1] + u32::from_le_bytes(*len) as usize);
    }
    check_every_cut(&newer, &blocks);
}

#[test]
fn garbage_is_refused_with_file_and_place() {
    let mut dice = fastrand::Rng::with_seed(5);
    for file in [
        pcap(101, &exchange(), true, 65535),
        pcapng(101, &exchange()),
    ] {
        for _ in 0..60 {
            let mut bad = file.clone();
            for _ in 0..dice.usize(1..4) {
                let at = dice.usize(..bad.len());
                bad[at] = dice.u8(..);
            }
            // Many a flipped bit is in a payload and no error; where it is one, it has a place.
            if let Err(error) = run(&bad).0 {
                let DecodeError::Capture { offset, .. } = &error else {
                    panic!("{error}");
                };
                assert!(*offset < bad.len() as u64, "{error}");
                assert!(error.to_string().starts_with("decoding test.pcap, packet "));
            }
        }
    }
}
