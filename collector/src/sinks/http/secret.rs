#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads a sink's secrets from files and the environment"
)]
//! A secret of a sink: in a file or an environment variable, read for each call and not kept, so that nothing shows
//! it.

use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;

/// Bytes of a secret at the most.
const SECRET_BYTES: u64 = 16 << 10;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoSecret {
    /// Its file.
    #[error("read the secret in {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its variable.
    #[error("there is no environment variable {0}")]
    NoVariable(String),
    /// What is there is none.
    #[error("{place} must hold a secret and nothing else: one line, without control characters")]
    NoText {
        /// Where it is.
        place: String,
    },
}

impl Secret {
    /// What one of two settings names.
    pub fn of(file: Option<&PathBuf>, variable: Option<&String>) -> Option<Self> {
        let file = file.cloned().map(Self::File);
        file.or_else(|| variable.cloned().map(Self::Environment))
    }

    /// The text, without the white space around it.
    ///
    /// # Errors
    /// There is none.
    pub fn read(&self) -> Result<String, NoSecret> {
        let (place, text) = match self {
            Self::File(path) => {
                let text = small(path).map_err(|source| NoSecret::File {
                    path: path.clone(),
                    source,
                });
                (path.display().to_string(), text?)
            }
            Self::Environment(name) => {
                let found = std::env::var(name).map_err(|_| NoSecret::NoVariable(name.clone()));
                (format!("environment variable {name}"), found?)
            }
        };
        let text = text.trim();
        if text.is_empty() || text.contains(char::is_control) {
            return Err(NoSecret::NoText { place });
        }
        Ok(text.to_owned())
    }

    /// A header's value with the text as `written`, which nothing prints.
    ///
    /// # Errors
    /// There is no text, or it cannot stand in a header.
    pub fn header(&self, written: impl Fn(&str) -> String) -> Result<HeaderValue, NoSecret> {
        let text = written(&self.read()?);
        let header = HeaderValue::from_bytes(text.as_bytes());
        let mut header = header.map_err(|_| NoSecret::NoText {
            place: self.place(),
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Environment(name) => format!("environment variable {name}"),
        }
    }
}

/// The text of a plain file that is not large.
fn small(path: &Path) -> std::io::Result<String> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() || about.len() > SECRET_BYTES {
        return Err(std::io::Error::other("it is no small plain file"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_nothing_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::of(Some(&path), None).unwrap();
        assert!(matches!(secret.read(), Err(NoSecret::File { .. })));
        for none in ["", " \n", "a\nb", "a\u{7}", &"x".repeat(16 << 10 | 1)] {
            std::fs::write(&path, none).unwrap();
            assert!(secret.read().is_err(), "{none:?}");
        }
        std::fs::write(&path, "two words\n").unwrap();
        assert_eq!(secret.read().unwrap(), "two words");
        let header = secret.header(|text| format!("Bearer {text}")).unwrap();
        assert_eq!(header, "Bearer two words");
        assert!(!format!("{secret:?} {header:?}").contains("words"));
        // The environment of the tests has this one.
        let of = Secret::of(None, Some(&"CARGO_PKG_NAME".to_owned())).unwrap();
        assert_eq!(of.read().unwrap(), "plimsoll-collector");
        let none = Secret::Environment("PLIMSOLL_TEST_NO_SUCH_VARIABLE".to_owned());
        assert!(matches!(none.read(), Err(NoSecret::NoVariable(_))));
    }
}
