//! How an error is shown in one line. Pure.

use std::error::Error;

/// An error with its causes: `what we were doing: what went wrong: why`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let told = deeper.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the hold")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("turn the key")]
    struct Inner(#[source] std::fmt::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("read the log: {0}")]
    struct Repeats(#[source] Inner);

    #[test]
    fn every_cause_is_shown_once() {
        let error = Outer(Inner(std::fmt::Error));
        let last = std::fmt::Error.to_string();
        assert_eq!(
            chain(&error),
            format!("open the hold: turn the key: {last}")
        );
        assert_eq!(chain(&std::fmt::Error), last);
        assert_eq!(
            chain(&Repeats(Inner(std::fmt::Error))),
            format!("read the log: turn the key: {last}"),
            "a cause that is told already"
        );
    }
}
