//! An error with its causes in one line, for logs and reasons. Pure.

use std::error::Error;
use std::fmt::Write as _;

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    for cause in causes(error) {
        let text = cause.to_string();
        // Some libraries repeat their cause in their own words.
        if !line.ends_with(&text) {
            let _infallible = write!(line, ": {text}");
        }
    }
    line
}

/// The last cause, where there is one: what the others only wrap.
pub(crate) fn bottom(error: &dyn Error) -> Option<&(dyn Error + 'static)> {
    causes(error).last()
}

fn causes(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ExportError;

    #[test]
    fn an_error_tells_its_causes() {
        let error = ExportError::Read {
            path: "/t".into(),
            setting: "export.token_file",
            source: std::io::Error::other("no"),
        };
        assert_eq!(chain(&error), "read /t (export.token_file): no");
        assert_eq!(bottom(&error).unwrap().to_string(), "no");
        let error = ExportError::Token {
            path: "/t".into(),
            why: "it is empty",
        };
        assert_eq!(chain(&error), error.to_string());
        assert!(bottom(&error).is_none());
    }
}
