//! How an error is shown in one line. Pure.

use std::error::Error;

/// An error with its causes: `what we were doing: what went wrong: why`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
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

    #[test]
    fn every_cause_is_shown_once() {
        let error = Outer(Inner(std::fmt::Error));
        let last = std::fmt::Error.to_string();
        assert_eq!(
            chain(&error),
            format!("open the hold: turn the key: {last}")
        );
        assert_eq!(chain(&std::fmt::Error), last);
    }
}
