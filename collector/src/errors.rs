//! How an error is shown in one line. Pure.

mod kube;

use std::error::Error;

/// An error with its causes: `what we were doing: what went wrong: why`. The Kubernetes client's are told in
/// words of our own, which hold no secrets.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (told, cause) =
            kube::told(error).unwrap_or_else(|| (error.to_string(), error.source()));
        // Some libraries repeat their cause in their own words.
        if !text.ends_with(&told) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&told);
        }
        next = cause;
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
