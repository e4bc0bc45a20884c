#![expect(clippy::disallowed_methods, reason = "shell: reads token files")]
//! Which node a bearer token stands for.
//!
//! Token files are read again every [`REREAD`] by a task of their own, and never for a request: a
//! rotated token counts within that time, and neither a flood of strangers nor a slow disk comes
//! between a node and its answer. In between only hashes are kept. A file that cannot be used lets
//! nobody in and is told once, until that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::Counts;
use crate::cluster::token::bearer;
use crate::errors;

/// Time for which what was read counts. A sender that is refused in it tries again later.
pub const REREAD: Duration = Duration::from_secs(2);
/// Longest token file; a header with a longer token would not come through either.
pub const MAX_TOKEN_BYTES: u64 = 8 << 10;

/// A token file and the node it stands for.
#[derive(Clone, Debug)]
pub struct Token {
    /// Node name.
    pub node: String,
    /// File that holds the token; white space around it is ignored.
    pub file: PathBuf,
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not there, or not ours to read.
    #[error("read the token file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder, a pipe: reading one may never end.
    #[error("the token file {0} is no plain file")]
    NotPlain(PathBuf),
    /// More than [`MAX_TOKEN_BYTES`].
    #[error("the token file {0} is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong(PathBuf),
    /// Nothing but white space.
    #[error("the token file {0} is empty")]
    Empty(PathBuf),
    /// Which of the nodes sends with it cannot be told.
    #[error("the token file {path} holds the token of node {other} as well")]
    Shared {
        /// The file.
        path: PathBuf,
        /// The other node.
        other: String,
    },
}

/// What is kept of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, std::hash::Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// In the same time whatever differs.
    fn is(self, other: Self) -> bool {
        let pairs = self.0.iter().zip(other.0);
        pairs.fold(0, |sum, (one, two)| sum | (one ^ two)) == 0
    }
}

/// Reads a token file. Waits for the disk.
///
/// # Errors
/// Why it cannot be used.
pub fn read(file: &Path) -> Result<Hash, TokenError> {
    let failed = |source| TokenError::Read {
        path: file.to_owned(),
        source,
    };
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(TokenError::NotPlain(file.to_owned()));
    }
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened
        .take(MAX_TOKEN_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong(file.to_owned()));
    }
    match text.trim() {
        "" => Err(TokenError::Empty(file.to_owned())),
        token => Ok(Hash::of(token)),
    }
}

/// Reads all token files. A token that stands for two nodes is the token of neither; a node may have
/// the same one in two files. Waits for the disk.
pub fn read_all(tokens: &[Token]) -> Vec<Result<Hash, TokenError>> {
    let all: Vec<_> = tokens.iter().map(|token| read(&token.file)).collect();
    let mut holders = BTreeMap::<Hash, BTreeSet<&str>>::new();
    for (token, hash) in tokens.iter().zip(&all) {
        if let Ok(hash) = hash {
            holders.entry(*hash).or_default().insert(&token.node);
        }
    }
    let judged = tokens.iter().zip(all).map(|(token, hash)| {
        let hash = hash?;
        let mut nodes = holders.get(&hash).into_iter().flatten();
        match nodes.find(|node| **node != token.node) {
            None => Ok(hash),
            Some(other) => Err(TokenError::Shared {
                path: token.file.clone(),
                other: (*other).to_owned(),
            }),
        }
    });
    judged.collect()
}

/// A token's hash, or in words why there is none.
type Known = Result<Hash, String>;

/// All tokens.
#[derive(Debug)]
pub struct Tokens {
    tokens: Vec<Token>,
    /// Of each token, as it was last read.
    known: RwLock<Arc<[Known]>>,
}

/// A token file that is in another state than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    node: String,
    /// `None` if it can be used from now on.
    trouble: Option<String>,
}

impl Tokens {
    /// Nobody is known before the first [`Tokens::read`].
    pub fn new(tokens: Vec<Token>) -> Self {
        Self {
            tokens,
            known: RwLock::new(Arc::new([])),
        }
    }

    fn known(&self) -> Arc<[Known]> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&known)
    }

    /// The node of the token in an `authorization` header.
    pub fn node_of(&self, header: Option<&str>) -> Option<String> {
        let presented = Hash::of(bearer(header?)?);
        let mut node = None;
        // To the end, so that the time does not tell which it was.
        for (token, known) in self.tokens.iter().zip(&*self.known()) {
            if known.as_ref().is_ok_and(|hash| hash.is(presented)) {
                node = Some(token.node.clone());
            }
        }
        node
    }

    /// Reads all files and swaps in what they say. Waits for the disk. Gives back what is worth a
    /// word: at first only the files that cannot be used.
    fn read(&self) -> Vec<Change> {
        let in_words = |read: Result<Hash, TokenError>| read.map_err(|error| errors::chain(&error));
        let now: Arc<[Known]> = read_all(&self.tokens).into_iter().map(in_words).collect();
        let mut kept = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *kept, Arc::clone(&now));
        drop(kept);
        let trouble = |known: &Known| known.as_ref().err().cloned();
        let mut changes = Vec::new();
        for (at, (token, now)) in self.tokens.iter().zip(&*now).enumerate() {
            let trouble_now = trouble(now);
            if trouble_now != before.get(at).and_then(trouble) {
                changes.push(Change {
                    node: token.node.clone(),
                    trouble: trouble_now,
                });
            }
        }
        changes
    }

    fn unusable(&self) -> u64 {
        let known = self.known();
        known.iter().filter(|known| known.is_err()).count() as u64
    }
}

/// Reads the files off the runtime's threads and says what changed.
pub(super) async fn refresh(tokens: &Arc<Tokens>, counts: &Counts) -> Result<(), JoinError> {
    let reading = Arc::clone(tokens);
    for Change { node, trouble } in tokio::task::spawn_blocking(move || reading.read()).await? {
        if let Some(error) = trouble {
            tracing::warn!(
                node,
                error,
                "token cannot be used: nobody comes in with it until it can"
            );
        } else {
            tracing::info!(node, "token can be used again");
        }
    }
    counts.note_unusable_tokens(tokens.unusable());
    Ok(())
}

/// Refreshes until `shutdown`.
pub(super) async fn watch(
    tokens: Arc<Tokens>,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
) -> Result<(), JoinError> {
    while shutdown
        .run_until_cancelled(tokio::time::sleep(REREAD))
        .await
        .is_some()
    {
        refresh(&tokens, &counts).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_token_counts_from_the_next_read_and_no_request_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old\n").unwrap();
        let node = "node-1".to_owned();
        let tokens = Tokens::new(vec![Token {
            node,
            file: file.clone(),
        }]);
        let check = |token: &str, known: bool| {
            let node = tokens.node_of(Some(&format!("Bearer {token}")));
            assert_eq!(node.is_some(), known, "{token}");
        };
        check("old", false);
        assert_eq!(tokens.read(), []);
        check("old", true);
        std::fs::write(&file, "new").unwrap();
        check("old", true);
        check("new", false);
        assert_eq!(tokens.read(), []);
        check("old", false);
        check("new", true);
    }

    #[test]
    fn a_file_that_cannot_be_used_lets_nobody_in_and_is_told_once_for_each_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let at = file.display();
        let tokens = Tokens::new(vec![Token {
            node: "node-1".to_owned(),
            file: file.clone(),
        }]);
        let check = |trouble: Option<String>| {
            let node = "node-1".to_owned();
            assert_eq!(tokens.read(), [Change { node, trouble }]);
            assert_eq!(tokens.read(), [], "told again");
            assert_eq!(
                tokens.unusable() > 0,
                tokens.node_of(Some("Bearer new")).is_none()
            );
            assert!(tokens.node_of(Some("Bearer ")).is_none());
        };
        let absent = "No such file or directory (os error 2)";
        check(Some(format!("read the token file {at}: {absent}")));
        std::fs::write(&file, " \n").unwrap();
        check(Some(format!("the token file {at} is empty")));
        std::fs::write(&file, "x".repeat(8193)).unwrap();
        check(Some(format!(
            "the token file {at} is longer than 8192 bytes"
        )));
        std::fs::write(&file, "new").unwrap();
        check(None);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        check(Some(format!("the token file {at} is no plain file")));
    }

    #[test]
    fn a_token_of_two_nodes_lets_neither_in_until_they_differ() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let token = |node: &str, name: &str| Token {
            node: node.to_owned(),
            file: file(name),
        };
        let tokens = Tokens::new(vec![
            token("a", "1"),
            token("a", "2"),
            token("b", "3"),
            token("c", "4"),
        ]);
        for (name, text) in [("1", "x"), ("2", "x\n"), ("3", " x"), ("4", "y")] {
            std::fs::write(file(name), text).unwrap();
        }
        let said = tokens.read();
        let nodes: Vec<&str> = said.iter().map(|change| change.node.as_str()).collect();
        assert_eq!((nodes, tokens.unusable()), (vec!["a", "a", "b"], 3));
        let why = said.last().and_then(|change| change.trouble.as_deref());
        let at = file("3").display().to_string();
        let expected = format!("the token file {at} holds the token of node a as well");
        assert_eq!(why, Some(expected.as_str()));
        let node = |token: &str| tokens.node_of(Some(&format!("Bearer {token}")));
        assert_eq!((node("x"), node("y")), (None, Some("c".to_owned())));
        std::fs::write(file("3"), "z").unwrap();
        assert_eq!(tokens.read().len(), 3);
        assert_eq!(
            (node("x"), node("z")),
            (Some("a".to_owned()), Some("b".to_owned()))
        );
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "secret").unwrap();
        let node = "node-1".to_owned();
        let tokens = Tokens::new(vec![Token { node, file }]);
        assert_eq!(tokens.read(), []);
        for header in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert!(tokens.node_of(Some(header)).is_some(), "{header:?}");
        }
        for header in [
            "",
            "secret",
            "Basic secret",
            "Bearersecret",
            "bearer SECRET",
        ] {
            assert_eq!(tokens.node_of(Some(header)), None, "{header:?}");
        }
        assert_eq!(tokens.node_of(None), None);
    }
}
