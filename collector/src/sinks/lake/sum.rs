//! What is written, counted and summed on the way. Pure but for where it goes.

use std::io::Write;

use sha2::{Digest, Sha256};

/// See the module.
#[derive(Debug)]
pub struct Summed<W> {
    to: W,
    sum: Sha256,
    len: u64,
}

impl<W> Summed<W> {
    /// Nothing yet.
    pub fn of(to: W) -> Self {
        Self {
            to,
            sum: Sha256::new(),
            len: 0,
        }
    }

    /// Where it was written, how many bytes, and their SHA-256 in Base64.
    pub fn finish(self) -> (W, u64, String) {
        (self.to, self.len, base64(&self.sum.finalize()))
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sum.update(bytes.get(..written).unwrap_or_default());
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            let digit = DIGITS.get(digit).copied().unwrap_or(b'A');
            text.push(if at <= three.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_what_was_written() {
        let mut to = Summed::of(Vec::new());
        to.write_all(b"abc").unwrap();
        let (bytes, len, sum) = to.finish();
        assert_eq!((bytes.as_slice(), len), (&b"abc"[..], 3));
        // FIPS 180-2, appendix B.1.
        assert_eq!(sum, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn base64_is_that_of_its_rfc() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
