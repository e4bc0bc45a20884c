//! What holds for any segments.

use proptest::prelude::*;

use super::{OK, PUT, Play, TOKEN};
use crate::Direction;

proptest! {
    /// Any bytes in any order at any time: no panic, every segment and request counted once.
    #[test]
    fn any_segments(
        segments in proptest::collection::vec(
            (any::<bool>(), 0_u32..300, proptest::collection::vec(any::<u8>(), 0..40), 0_usize..60, 0_u8..12, 0_u64..900),
            0..60,
        ),
    ) {
        let mut play = Play::imds();
        for (up, seq, bytes, more, flag, ms) in segments {
            let direction = if up { Direction::Request } else { Direction::Response };
            let flag = match flag { 0 => "S", 1 => "F", 2 => "R", _ => "" };
            play.hop_limit = Some(if flag.is_empty() { 1 } else { 2 });
            play.segment(direction, seq, &bytes, bytes.len() + more, flag);
            play.wait(ms);
        }
        play.end();
    }

    /// HTTP cut, reordered and repeated at random tells the same as in one piece.
    #[test]
    fn any_order_tells_the_same(
        cuts in proptest::collection::vec((0_usize..250, 1_usize..90), 0..20),
        size in 1_usize..90,
    ) {
        let text = format!("{PUT}GET /latest/user-data HTTP/1.1\r\nX-aws-ec2-metadata-token: {TOKEN}\r\n\r\n");
        let play = |parts: Vec<(usize, usize)>| {
            let mut play = Play::imds();
            play.open();
            let first = play.up_seq;
            for (start, len) in parts {
                let part = &text.as_bytes()[start.min(text.len())..(start + len).min(text.len())];
                play.segment(Direction::Request, first + u32::try_from(start).unwrap(), part, part.len(), "");
            }
            play.up_seq = first + u32::try_from(text.len()).unwrap();
            play.answer(OK).answer(OK).end()
        };
        let whole = play(vec![(0, text.len())]);
        prop_assert_eq!(whole.len(), 2);
        let rest = (0..text.len()).step_by(size).map(|start| (start, size)).rev();
        prop_assert_eq!(play(cuts.into_iter().chain(rest).collect()), whole);
    }
}
