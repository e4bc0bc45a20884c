//! A configuration text of sections and settings: read into the program's own types, or every
//! mistake at once, each with its line and its field.
//!
//! Agent and collector share it, so that a file with mistakes is judged alike. What the settings are
//! and which values they may have is the program's: it hands in its types, a [`Layout`] of them and a
//! check of the values. Pure: knows no file and no environment.

#![forbid(unsafe_code)]

mod diagnosis;
mod kind;
mod log;
mod node;
mod words;

pub use diagnosis::Lines;
pub use log::log_filter;
pub use node::names_of;
pub use words::too_much;

use serde::de::DeserializeOwned;

use diagnosis::Mistake;

/// The configuration text cannot be used. Displayed as one line per mistake.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Where the settings of a configuration lie.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Settings that lie in no section.
    pub top: &'a [&'static str],
    /// Each section and the names of its settings, see [`names_of`]. A section within another is there by
    /// its place, `outer.inner`, and by its name among the outer one's settings; no deeper. One within the
    /// elements of a list is `list[].inner`, at any depth.
    pub sections: &'a [(&'static str, &'static [&'static str])],
    /// Settings that are lists, as `section.setting` or, of plain values, `list[].setting`, and the names in each of its elements; no
    /// names where the elements are plain values.
    pub lists: &'a [(&'static str, &'static [&'static str])],
}

/// A place (`section.setting`, `section.setting[0].name`) and what is wrong with its value.
pub type Wrong = (String, String);

/// Reads a whole text; `check` says what is wrong with the values.
///
/// # Errors
/// Every mistake in the order of the text, each as `name:line: place: what is wrong`. A text that is
/// no YAML yields the one mistake at which reading had to stop.
pub fn read<T: DeserializeOwned + Default>(
    name: &str,
    text: &str,
    layout: Layout<'_>,
    check: impl FnOnce(&T) -> Vec<Wrong>,
) -> Result<T, ConfigError> {
    let (config, mut mistakes) = shape::<T>(text, layout);
    let lines = Lines::of(text);
    // Of a text that cannot be read at all nothing is known: not that something is left out either.
    let is_unread = |mistake: &Mistake| mistake.place.is_empty() && !mistake.is_read;
    let wrong = if mistakes.iter().any(is_unread) {
        Vec::new()
    } else {
        check(&config)
    };
    let unread = mistakes.iter().filter(|found| !found.is_read);
    let known: Vec<String> = unread.map(|found| found.place.clone()).collect();
    let values = wrong
        .into_iter()
        // What could not be read is its default here, and no mistake of value on top.
        .filter(|(place, _)| !known.iter().any(|known| is_within(place, known)));
    mistakes.extend(values.map(|(place, what)| Mistake {
        line: lines.find(&place),
        place,
        what,
        is_read: true,
    }));
    mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(u64::MAX));
    if mistakes.is_empty() {
        Ok(config)
    } else {
        let shown = mistakes.iter().map(|mistake| mistake.show(name));
        Err(ConfigError(shown.collect()))
    }
}

/// The place itself, or one in it.
fn is_within(place: &str, outer: &str) -> bool {
    place
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn shape<T: DeserializeOwned + Default>(text: &str, layout: Layout<'_>) -> (T, Vec<Mistake>) {
    if text.trim().is_empty() {
        return (T::default(), Vec::new());
    }
    let read = serde_saphyr::from_str(text);
    match read {
        Ok(config) if !diagnosis::is_loose::<T>(text) => (config, Vec::new()),
        read => {
            let (config, mut mistakes) = diagnosis::diagnose(text, layout);
            if let (Err(error), true) = (&read, mistakes.is_empty()) {
                mistakes.push(diagnosis::first(error));
            }
            (config, mistakes)
        }
    }
}

#[cfg(test)]
mod tests;
