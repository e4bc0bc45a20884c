use super::*;
use crate::history::usage::RECENT_WINDOWS;
use crate::records;
use proptest::prelude::*;

fn series(container: u64, minutes: std::ops::Range<u64>) -> Series {
    let mut series = Series::new(records::NODE, &records::identity(container));
    for minute in minutes {
        series.add(records::NODE, &records::minute(container, minute));
    }
    series
}

#[test]
fn what_was_written_is_read_and_small() {
    for minutes in [0..0, 0..1, 3..5, 0..200] {
        let series = series(7, minutes);
        let bytes = encode(&series).unwrap();
        assert_eq!(decode(&bytes).unwrap(), series);
        assert!(series.usage.recent.len() <= RECENT_WINDOWS);
        assert!(bytes.len() <= 4096, "{} bytes", bytes.len());
    }
}

#[test]
fn earlier_pods_keep_their_hottest_and_those_without_one_are_read() {
    let mut earlier = series(7, 0..0);
    earlier.fold(&series(7, 0..9));
    assert!(earlier.hottest.is_some());
    assert_eq!(decode(&encode(&earlier).unwrap()).unwrap(), earlier);
    earlier.hottest = None;
    assert_eq!(decode(&encode(&earlier).unwrap()).unwrap(), earlier);
}

#[test]
fn a_row_without_hours_of_the_day_and_days_has_those_of_its_newest_windows() {
    let series = series(7, 0..500);
    let mut older = series.clone();
    older.usage.day_hours = 0;
    older.usage.days.clear();
    let read = decode(&encode(&older).unwrap()).unwrap();
    let hours = read.usage.hours_of_day();
    assert!((3..=4).contains(&hours), "{hours}");
    let known = series.usage.day_hours;
    assert_eq!(read.usage.day_hours & known, read.usage.day_hours);
    assert!(!series.usage.days.is_empty());
    assert_eq!(
        read.usage.days,
        series.usage.days[series.usage.days.len() - 1..]
    );
}

#[test]
fn series_of_the_first_version_are_read() {
    let series = series(7, 0..200);
    let mut json = serde_json::to_value(&series).unwrap();
    // Not in that version.
    assert!(json.as_object_mut().unwrap().remove("hottest").is_some());
    let json = serde_json::to_vec(&json).unwrap();
    assert_eq!(decode(&json).unwrap(), series);
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let bytes = encode(&series(7, 0..3)).unwrap();
    for at in 0..bytes.len() {
        assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(decode(&changed).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(matches!(
        decode(&[3, 0, 0, 0, 0]),
        Err(EncodingError::Version(3))
    ));
}

/// The body alone, with a checksum that fits: what an attacker or a bug could make of it.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_a_series_or_an_error(body in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&body));
        drop(decode(&sealed(&body)));
    }

    /// What decodes in spite of a change is a series like any other: it takes windows in, and is
    /// written and read again.
    #[test]
    fn a_changed_body_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let bytes = encode(&series(7, 0..4)).unwrap();
        let mut body = bytes[HEADER..].to_vec();
        for (at, value) in changes {
            *at.get_mut(&mut body) = value;
        }
        if let Ok(mut series) = decode(&sealed(&body)) {
            series.add("n", &records::minute(7, 5));
            let other = series.clone();
            series.fold(&other);
            prop_assert!(decode(&encode(&series).unwrap()).is_ok());
        }
    }
}
