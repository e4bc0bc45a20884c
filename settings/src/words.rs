//! What a person is told about a value. The reader's own words are meant for programmers.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, UserMessageFormatter};

use crate::kind::is_nothing;

/// What a setting must be, by the unit or the last word of its name.
pub(crate) fn must_be(key: &str) -> Option<&'static str> {
    [
        ("_ms", "must be a plain number of milliseconds, as 1000"),
        ("_s", "must be a plain number of seconds, as 60"),
        ("_bytes", "must be a plain number of bytes, as 1048576"),
        ("listen", "must be an address and port, as 127.0.0.1:8080"),
    ]
    .into_iter()
    .find(|(end, _)| key.ends_with(end))
    .map(|(_, must)| must)
}

/// What must be, and what is there instead, if anything is.
pub(crate) fn not(must: &str, raw: &str) -> String {
    if is_nothing(raw) {
        must.to_owned()
    } else {
        format!("{must}, not {raw}")
    }
}

/// Why a text is more than is read, if that is what is wrong with it.
pub fn too_much(error: &Error) -> Option<&'static str> {
    let (aliases, deep, long) = (
        "holds too much, or too much once its aliases (`*name`) are written out",
        "is nested too deep",
        "is too long",
    );
    match error.without_snippet() {
        Error::AliasError { error, .. } => too_much(error),
        Error::Budget { breach, .. } => Some(match breach {
            BudgetBreach::Depth { .. } | BudgetBreach::InclusionDepth { .. } => deep,
            BudgetBreach::InputBytes { .. } | BudgetBreach::ScalarBytes { .. } => long,
            _ => aliases,
        }),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Some(aliases),
        _ => None,
    }
}

/// What the reader says, in words for a person and without the place, which is said elsewhere.
pub(crate) fn message(error: &Error) -> String {
    if let Some(why) = too_much(error) {
        return why.to_owned();
    }
    let error = error.without_snippet();
    let told = match error {
        Error::MultipleDocuments { .. } => "must be one document: a line `---` begins another",
        Error::NullIntoString { .. } => "must have a value",
        Error::Unexpected { .. } => "there is something else than settings here",
        Error::UnknownAnchor { .. } => "there is no anchor (`&name`) for this alias (`*name`)",
        Error::InvalidScalar { ty, .. } => match *ty {
            "u8" | "u16" | "u32" | "u64" | "usize" => "must be a whole number within its bounds",
            "f32" | "f64" => "must be a number",
            "bool" | "boolean" => "must be true or false",
            _ => "cannot be read as what it should be",
        },
        _ => {
            let text = error.render_with_formatter(&UserMessageFormatter);
            let text = text.split(" at line ").next().unwrap_or_default();
            return text.lines().next().unwrap_or_default().to_owned();
        }
    };
    told.to_owned()
}

/// Insertions, deletions and changes of a character between two names (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.bytes().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, of_b) in row.iter_mut().skip(1).zip(b.bytes()) {
            let change = before + usize::from(of_a != of_b);
            before = *above;
            left = change.min(before + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or(0)
}
