//! The secrets that one request carries in the open, and whether a text repeats a part of them.

use std::cell::OnceCell;

/// So many equal bytes in a row give a secret away.
pub(crate) const WINDOW: usize = 8;
/// Longest secret whose windows are compared.
const SECRET_BYTES: usize = 8 * 1024;
/// Secrets of one request that are compared; there are never more than head lines.
const SECRETS: usize = 64;
/// Words of 64 bits in the filter: as many bits as the windows of two sessions tokens need to be
/// sparse, or of a JWT.
const FILTER_WORDS: [usize; 2] = [64, 1024];
/// More windows than these make the large filter worth its memory.
const FEW_WINDOWS: usize = 256;

/// The secrets that one request carries in the open, to be kept out of its other fields.
///
/// Letter case is ignored: a token in lower case is still most of a token.
#[derive(Debug, Default)]
pub(crate) struct Secrets<'a> {
    known: Vec<&'a [u8]>,
    is_cut: bool,
    /// Built for the first text that is compared.
    index: OnceCell<Index>,
}

impl<'a> Secrets<'a> {
    /// Adds a secret.
    pub(crate) fn add(&mut self, secret: &'a [u8]) {
        let secret = secret.get(..SECRET_BYTES).unwrap_or(secret);
        if secret.len() < WINDOW {
            return;
        }
        if self.known.len() >= SECRETS {
            // Not to be compared with, so no text may rely on it.
            self.is_cut = true;
            return;
        }
        self.known.push(secret);
        self.index = OnceCell::new();
    }

    /// Some secrets may stand where we could not read: texts must be harmless whatever they are.
    pub(crate) const fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Whether there may be secrets that we do not know.
    pub(crate) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether [`WINDOW`] bytes in a row of `text` occur in a secret.
    pub(crate) fn shares_window(&self, text: &[u8]) -> bool {
        if self.known.is_empty() || text.len() < WINDOW {
            return false;
        }
        let index = self.index.get_or_init(|| Index::of(&self.known));
        windows(text).any(|window| index.has(window))
    }
}

/// All windows of the secrets, and one bit for each hash of one: most text shares none.
#[derive(Debug)]
struct Index {
    filter: Vec<u64>,
    windows: Vec<u64>,
}

impl Index {
    fn of(secrets: &[&[u8]]) -> Self {
        let all: Vec<u64> = secrets.iter().flat_map(|secret| windows(secret)).collect();
        let [few, many] = FILTER_WORDS;
        let words = if all.len() > FEW_WINDOWS { many } else { few };
        let mut index = Self {
            filter: vec![0; words],
            windows: all,
        };
        for window in &index.windows {
            let (word, bit) = place(*window, words);
            if let Some(word) = index.filter.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        index
    }

    fn has(&self, window: u64) -> bool {
        let (word, bit) = place(window, self.filter.len());
        let is_likely = self
            .filter
            .get(word)
            .is_some_and(|bits| bits >> bit & 1 == 1);
        is_likely && self.windows.contains(&window)
    }
}

/// Each [`WINDOW`] bytes in a row, in lower case, as a number.
fn windows(text: &[u8]) -> impl Iterator<Item = u64> {
    let mut value = 0_u64;
    text.iter().enumerate().filter_map(move |(at, byte)| {
        value = value << 8 | u64::from(byte.to_ascii_lowercase());
        (at + 1 >= WINDOW).then_some(value)
    })
}

/// Word and bit of a window in a filter of so many words, a power of two.
const fn place(window: u64, words: usize) -> (usize, u32) {
    let mixed = window.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((mixed >> 6) as usize & (words - 1), (mixed & 63) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_give_it_away_in_any_case() {
        let mut secrets = Secrets::default();
        assert!(!secrets.shares_window(b"0123456789"));
        secrets.add(b"shorter");
        assert!(!secrets.shares_window(b"shorter"));
        secrets.add(b"0123456789aBcDef");
        for (text, shares) in [
            ("x01234567x", true),
            ("x0123456x", false),
            ("789AbCdE", true),
            ("", false),
            ("89abcdef", true),
        ] {
            assert_eq!(secrets.shares_window(text.as_bytes()), shares, "{text}");
        }
    }

    #[test]
    fn many_and_long_secrets() {
        let long: Vec<u8> = (0..9000_u32).map(|at| (at * at % 251) as u8).collect();
        let mut secrets = Secrets::default();
        secrets.add(&long);
        assert!(secrets.shares_window(&long[8000..8020]));
        assert!(!secrets.shares_window(b"aaaaaaaaaaaaaaaaaaaa"));
        assert!(!secrets.is_cut());
        for _ in 0..SECRETS {
            secrets.add(b"01234567");
        }
        assert!(secrets.is_cut());
    }
}
