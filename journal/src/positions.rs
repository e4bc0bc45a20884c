//! The position file: two slots, written in turn, so that one whole slot survives any torn write.
//! Pure: bytes in, bytes out.
//!
//! ```text
//!  slot n at n × 4096:  0 4 magic "PLP1" · 4 4 length of the body · 8 4 crc32c of the body · 12 … body
//!  body: generation u64 · next_seq u64 · reported u64 · epoch · count u8 · (name · seq u64)…
//!        · count u8 · (first u64 · last u64)…: damage on record
//!        · count u8 · (first u64 · last u64)…: what is gone and not on record
//!        Older versions wrote neither of these two.
//!  text: length u8 · bytes
//! ```

use std::collections::BTreeMap;

use crate::numbers::Numbers;

/// Name of the file within a journal's folder.
pub(crate) const FILE: &str = "positions";
/// Distance of the slots: a page, so that the slots share no sector.
pub(crate) const SLOT_LEN: usize = 4096;
/// Bytes of the file.
pub(crate) const FILE_LEN: usize = 2 * SLOT_LEN;
/// No cursor has a longer name.
pub(crate) const MAX_NAME: usize = 64;
/// No journal has more cursors.
pub(crate) const MAX_CURSORS: usize = 32;

const MAGIC: [u8; 4] = *b"PLP1";
const HEAD: usize = 12;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    /// Rises with every write; the valid slot with the higher one counts.
    pub generation: u64,
    /// No record got this number or a higher one before the write.
    pub next_seq: u64,
    /// Holes up to this number are on record already: older versions wrote this, and no `told`.
    pub reported: u64,
    /// The journal's epoch.
    pub epoch: String,
    /// The last sequence number that each reader is done with.
    pub cursors: BTreeMap<String, u64>,
    /// Numbers of damage that readers met and the owner has on record, above the lowest cursor.
    pub told: Numbers,
    /// Numbers that are gone and not on record, wherever the cursors are.
    pub untold: Numbers,
}

impl Positions {
    /// Where the slot of this generation begins in the file.
    pub(crate) const fn offset(&self) -> u64 {
        (self.generation % 2) * SLOT_LEN as u64
    }

    /// The bytes of one slot, [`SLOT_LEN`] long. Names and counts beyond the bounds are the
    /// journal's to refuse, before.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(SLOT_LEN);
        for number in [self.generation, self.next_seq, self.reported] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        put_text(&mut body, &self.epoch);
        body.push(u8::try_from(self.cursors.len()).unwrap_or(u8::MAX));
        for (name, seq) in &self.cursors {
            put_text(&mut body, name);
            body.extend_from_slice(&seq.to_le_bytes());
        }
        for runs in [self.told.runs(), self.untold.runs()] {
            body.push(u8::try_from(runs.len()).unwrap_or_default());
            for number in runs.iter().flat_map(|(first, last)| [first, last]) {
                body.extend_from_slice(&number.to_le_bytes());
            }
        }
        let mut slot = Vec::with_capacity(SLOT_LEN);
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        slot.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        slot.extend_from_slice(&body);
        slot.resize(SLOT_LEN, 0);
        slot
    }

    /// One slot's content; `None` if it is empty or damaged.
    pub(crate) fn decode_slot(slot: &[u8]) -> Option<Self> {
        let head = slot.first_chunk::<HEAD>()?;
        let len = u32::from_le_bytes(*head.get(4..)?.first_chunk()?) as usize;
        let crc = u32::from_le_bytes(*head.get(8..)?.first_chunk()?);
        let mut body = slot.get(HEAD..HEAD.checked_add(len)?)?;
        if !head.starts_with(&MAGIC) || crc32c::crc32c(body) != crc {
            return None;
        }
        let mut positions = Self {
            generation: take_u64(&mut body)?,
            next_seq: take_u64(&mut body)?,
            reported: take_u64(&mut body)?,
            epoch: take_text(&mut body)?,
            cursors: BTreeMap::new(),
            told: Numbers::default(),
            untold: Numbers::default(),
        };
        let (count, rest) = body.split_first()?;
        body = rest;
        for _ in 0..*count {
            let name = take_text(&mut body)?;
            positions.cursors.insert(name, take_u64(&mut body)?);
        }
        for set in [&mut positions.told, &mut positions.untold] {
            let (count, rest) = body.split_first().unwrap_or((&0, &[]));
            body = rest;
            for _ in 0..*count {
                set.add_or_join((take_u64(&mut body)?, take_u64(&mut body)?));
            }
        }
        Some(positions)
    }

    /// The newer valid slot of the file's bytes.
    pub(crate) fn decode(file: &[u8]) -> Option<Self> {
        file.chunks(SLOT_LEN)
            .take(2)
            .filter_map(Self::decode_slot)
            .max_by_key(|slot| slot.generation)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..bytes.len().min(MAX_NAME)).unwrap_or_default();
    out.push(u8::try_from(bytes.len()).unwrap_or_default());
    out.extend_from_slice(bytes);
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*head))
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (len, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::MAX_RUNS;
    use proptest::prelude::*;

    fn positions(generation: u64) -> Positions {
        Positions {
            generation,
            next_seq: 70 + generation,
            reported: 3,
            epoch: "00ff".repeat(8),
            cursors: BTreeMap::from([("export".into(), 60), ("sink".into(), 61)]),
            told: Numbers::default(),
            untold: Numbers::default(),
        }
    }

    #[test]
    fn the_newer_slot_counts_and_the_older_one_stands_in() {
        let mut file = vec![0; FILE_LEN];
        for generation in [8, 9] {
            let slot = positions(generation);
            let at = usize::try_from(slot.offset()).unwrap();
            file[at..at + SLOT_LEN].copy_from_slice(&slot.encode());
        }
        assert_eq!(Positions::decode(&file), Some(positions(9)));
        file[SLOT_LEN + 30] ^= 4;
        assert_eq!(Positions::decode(&file), Some(positions(8)));
        file[9] ^= 4;
        assert_eq!(Positions::decode(&file), None);
    }

    #[test]
    fn the_longest_content_fits_and_that_of_older_versions_is_read() {
        let name = |at: usize| format!("{at:064}");
        let mut longest = Positions {
            epoch: name(0),
            cursors: (0..MAX_CURSORS).map(|at| (name(at), u64::MAX)).collect(),
            ..positions(4)
        };
        for at in 0..MAX_RUNS as u64 {
            longest.told.add_or_join((at * 10 + 1, at * 10 + 3));
            longest.untold.add_or_join((at * 10 + 5, at * 10 + 6));
        }
        let slot = longest.encode();
        assert_eq!(slot.len(), SLOT_LEN);
        assert_eq!(Positions::decode_slot(&slot), Some(longest));
        let mut slot = positions(4).encode();
        let len = u32::from_le_bytes(*slot[4..].first_chunk().unwrap()) - 2;
        let body = HEAD..HEAD + len as usize;
        let crc = crc32c::crc32c(&slot[body]);
        slot[4..8].copy_from_slice(&len.to_le_bytes());
        slot[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Positions::decode_slot(&slot), Some(positions(4)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut slot = positions(4).encode();
            for (place, byte) in slot.iter_mut().zip(&bytes) {
                *place = *byte;
            }
            prop_assert!(Positions::decode_slot(&bytes).is_none());
            let decoded = Positions::decode_slot(&slot);
            prop_assert!(decoded.is_none() || decoded == Some(positions(4)));
        }
    }
}
