#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads token files, has the clock of that"
)]
//! Which node a bearer token stands for.
//!
//! Token files are read again every [`REREAD`], not for each request: a rotated token counts within
//! that time, and a flood of requests, of strangers as well, does not become one of reads. In between
//! only hashes are kept.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// Time for which what was read counts. A sender that is refused in it tries again later.
pub const REREAD: Duration = Duration::from_secs(2);

/// A token file and the node it stands for.
#[derive(Clone, Debug)]
pub struct Token {
    /// Node name.
    pub node: String,
    /// File that holds the token; white space around it is ignored.
    pub file: PathBuf,
}

/// All tokens.
#[derive(Debug)]
pub struct Tokens {
    tokens: Vec<Token>,
    read: Mutex<Option<Read>>,
}

/// What was read, and when.
#[derive(Debug)]
struct Read {
    at: Instant,
    /// Of each token; `None` of a file that is empty or cannot be read.
    hashes: Vec<Option<[u8; 32]>>,
}

impl Tokens {
    /// Nothing is read before the first question.
    pub const fn new(tokens: Vec<Token>) -> Self {
        let read = Mutex::new(None);
        Self { tokens, read }
    }

    /// The node of the token in an `authorization` header.
    pub fn node_of(&self, header: Option<&str>) -> Option<String> {
        self.node_at(header, Instant::now())
    }

    /// Each token is compared in the same time whatever it holds, by its hash.
    fn node_at(&self, header: Option<&str>, now: Instant) -> Option<String> {
        let presented: [u8; 32] = Sha256::digest(header?.strip_prefix("Bearer ")?.trim()).into();
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |read: &Read| now.saturating_duration_since(read.at) < REREAD;
        let read = match kept.take().filter(fresh) {
            Some(read) => kept.insert(read),
            None => kept.insert(Read {
                at: now,
                hashes: self.tokens.iter().map(hash).collect(),
            }),
        };
        let mut node = None;
        for (token, hash) in self.tokens.iter().zip(&read.hashes) {
            let Some(hash) = hash else { continue };
            let differing = presented
                .iter()
                .zip(hash)
                .fold(0, |sum, (a, b)| sum | (a ^ b));
            if differing == 0 {
                node = Some(token.node.clone());
            }
        }
        node
    }
}

fn hash(token: &Token) -> Option<[u8; 32]> {
    let text = std::fs::read_to_string(&token.file).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| Sha256::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_token_counts_within_two_seconds_and_no_request_reads_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old\n").unwrap();
        let node = "node-1".to_owned();
        let tokens = Tokens::new(vec![Token {
            node,
            file: file.clone(),
        }]);
        let begin = Instant::now();
        let check = |token: &str, after: Duration, known: bool| {
            let header = format!("Bearer {token}");
            let node = tokens.node_at(Some(&header), begin + after);
            assert_eq!(node.is_some(), known, "{token} after {after:?}");
        };
        let just_before = Duration::from_millis(1999);
        check("old", Duration::ZERO, true);
        check("new", Duration::ZERO, false);
        std::fs::write(&file, "new").unwrap();
        check("old", just_before, true);
        check("new", just_before, false);
        check("new", REREAD, true);
        check("old", REREAD, false);
        // A file that is emptied, or gone, lets nobody in.
        std::fs::write(&file, " \n").unwrap();
        check("", 2 * REREAD, false);
        check("new", 2 * REREAD, false);
        std::fs::remove_file(&file).unwrap();
        check("new", 3 * REREAD, false);
        std::fs::write(&file, "newest").unwrap();
        check("newest", 4 * REREAD, true);
    }

    #[test]
    fn without_the_right_scheme_there_is_no_token() {
        let tokens = Tokens::new(Vec::new());
        for header in [
            None,
            Some(""),
            Some("Basic c2VjcmV0"),
            Some("Bearer secret"),
        ] {
            assert_eq!(tokens.node_of(header), None, "{header:?}");
        }
    }
}
