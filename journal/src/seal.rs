//! The end of a segment file: what a start has to know of a file that is not written again, so that it need not
//! read the file. Pure.
//!
//! ```text
//!  records … │ zeros up to a multiple of 512 │ end frame, zeros up to 512 bytes
//!            └─ data_len                     └─ in one sector: it is there whole, or not at all
//! ```
//!
//! The payload of the end frame:
//!
//! ```text
//!  0   8  number of the first record; between it and the last, in the header, none is missing
//!  8   8  bytes before the zeros
//! 16   8  time of the first record, Unix nanoseconds
//! 24   8  number of the first record of the last run that shares a time
//! 32   1  length of the epoch
//! 33   …  epoch
//! ```
//!
//! A file that is longer or shorter than this says, or whose last 512 bytes are no end frame, is read as a whole: it
//! was not sealed yet, or something happened to it.

use crate::frame::{self, Found, Kind, Scan};

/// Sectors reach a disk whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Bytes of the numbers in the payload.
const NUMBERS: usize = 32;

/// What a sealed file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Number of the first record.
    pub(crate) first: u64,
    /// Number of the last record.
    pub(crate) last: u64,
    /// Bytes up to the end of the last record.
    pub(crate) data_len: u64,
    /// Time of the first record, Unix nanoseconds.
    pub(crate) oldest_unix_ns: u64,
    /// Time of the last record, Unix nanoseconds.
    pub(crate) newest_unix_ns: u64,
    /// Number of the first record of the last run that shares a time.
    pub(crate) run_first: u64,
    /// The journal's.
    pub(crate) epoch: String,
}

impl Seal {
    /// Where the end frame begins.
    pub(crate) const fn offset(&self) -> u64 {
        self.data_len.next_multiple_of(SECTOR as u64)
    }

    /// Length of the sealed file.
    pub(crate) const fn file_len(&self) -> u64 {
        self.offset() + SECTOR as u64
    }

    /// The sector with the end frame.
    pub(crate) fn encode(&self, stream: u8) -> Vec<u8> {
        let mut payload = Vec::with_capacity(NUMBERS + 1 + self.epoch.len());
        for number in [
            self.first,
            self.data_len,
            self.oldest_unix_ns,
            self.run_first,
        ] {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        // An epoch is no longer than a name in the position file.
        payload.push(u8::try_from(self.epoch.len()).unwrap_or(u8::MAX));
        payload.extend_from_slice(self.epoch.as_bytes());
        let mut sector = Vec::with_capacity(SECTOR);
        let (last, time) = (self.last, self.newest_unix_ns);
        frame::encode(&mut sector, Kind::End, stream, last, time, &payload);
        sector.resize(SECTOR, 0);
        sector
    }

    /// What the last sector of a file says; `None` if that is no end frame of such a file.
    pub(crate) fn decode(sector: &[u8], file_len: u64, stream: u8) -> Option<Self> {
        let Some(Found::Frame {
            header, payload, ..
        }) = Scan::new(sector).next()
        else {
            return None;
        };
        let payload = sector.get(payload)?;
        let (numbers, text) = payload.split_first_chunk::<NUMBERS>()?;
        let number = |at: usize| {
            Some(u64::from_le_bytes(
                *numbers.get(at * 8..)?.first_chunk::<8>()?,
            ))
        };
        let (len, epoch) = text.split_first()?;
        let seal = Self {
            first: number(0)?,
            last: header.seq,
            data_len: number(1)?,
            oldest_unix_ns: number(2)?,
            newest_unix_ns: header.time_unix_ns,
            run_first: number(3)?,
            epoch: String::from_utf8(epoch.to_vec()).ok()?,
        };
        let is_sound = header.kind == Kind::End
            && header.stream == stream
            && usize::from(*len) == epoch.len()
            && seal.first > 0
            && (seal.first..=seal.last).contains(&seal.run_first)
            && seal.data_len < file_len
            && seal.file_len() == file_len;
        is_sound.then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(data_len: u64) -> Seal {
        Seal {
            first: 5,
            last: 90,
            data_len,
            oldest_unix_ns: 1000,
            newest_unix_ns: 2000,
            run_first: 88,
            epoch: "0f".repeat(32),
        }
    }

    #[test]
    fn an_end_belongs_to_a_file_of_its_length() {
        for (data_len, file_len) in [(1, 1024), (511, 1024), (512, 1024), (513, 1536)] {
            let seal = seal(data_len);
            assert_eq!(seal.file_len(), file_len);
            let sector = seal.encode(7);
            assert_eq!(sector.len(), SECTOR);
            assert_eq!(Seal::decode(&sector, file_len, 7), Some(seal));
            assert_eq!(Seal::decode(&sector, file_len + 512, 7), None);
            assert_eq!(Seal::decode(&sector, file_len, 8), None);
        }
    }

    proptest! {
        #[test]
        fn no_flipped_bit_is_believed(bit in 0usize..137 * 8) {
            let mut sector = seal(700).encode(7);
            sector[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Seal::decode(&sector, 1536, 7), None);
        }

        #[test]
        fn any_bytes_are_an_end_or_not(bytes in prop::collection::vec(any::<u8>(), 0..600), len in any::<u64>()) {
            prop_assert_eq!(Seal::decode(&bytes, len, 7), None);
        }
    }
}
