#![expect(clippy::disallowed_methods, reason = "shell: reads token files")]
//! Which node a bearer token stands for.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// A token file and the node it stands for.
#[derive(Clone, Debug)]
pub struct Token {
    /// Node name.
    pub node: String,
    /// File that holds the token; white space around it is ignored.
    pub file: PathBuf,
}

/// The node of the token in an `authorization` header. Files are read each time, so a rotated
/// token counts at once; each is compared in the same time whatever it holds, by its hash.
pub fn node_of(tokens: &[Token], header: Option<&str>) -> Option<String> {
    let presented = Sha256::digest(header?.strip_prefix("Bearer ")?.trim());
    let mut node = None;
    for token in tokens {
        let Ok(expected) = std::fs::read_to_string(&token.file) else {
            continue;
        };
        let expected = expected.trim();
        let hash = Sha256::digest(expected);
        let differing = presented
            .iter()
            .zip(hash.iter())
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if differing == 0 && !expected.is_empty() {
            node = Some(token.node.clone());
        }
    }
    node
}
