//! Where each setting of a configuration text stands, and everything that is wrong with its shape.
//!
//! The text is read twice. First as a whole, by the types of the configuration: if that works, it
//! is what it says, and only the lines are needed here. If it does not, the reader had to stop at the
//! first mistake; so each setting is then read for itself, by the same types, and each that cannot be
//! is a mistake of its own. What can be read is put together again, so that its values are checked
//! as well. Knows neither files nor what a value means.

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use crate::Layout;
use crate::node::{Entries, Node};

/// Something is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Counted from 1; `None` where the text does not mention the setting.
    pub(crate) line: Option<u64>,
    /// `section.key`, or empty for the text as a whole.
    pub(crate) place: String,
    /// What it must be instead.
    pub(crate) what: String,
}

impl Mistake {
    /// As it is shown: `name:line: place: what`.
    pub(crate) fn show(&self, name: &str) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = match self.place.as_str() {
            "" => String::new(),
            place => format!("{place}: "),
        };
        format!("{name}{line}: {place}{}", self.what)
    }
}

/// Where the settings stand: place and line, in the order of the text.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<(String, u64)>);

impl Lines {
    /// Of a text; none of one that is no YAML.
    pub fn of(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(Node::Map(entries)) = serde_saphyr::from_str::<Node>(text) {
            lines.add("", &entries);
        }
        lines
    }

    fn add(&mut self, inside: &str, entries: &Entries) {
        for (key, value) in entries {
            let place = format!("{inside}{}", key.value);
            self.0.push((place.clone(), key.referenced.line()));
            match &value.value {
                Node::Map(inner) => self.add(&format!("{place}."), inner),
                Node::List(elements) => {
                    for (at, element) in elements.iter().enumerate() {
                        let place = format!("{place}[{at}]");
                        self.0.push((place.clone(), element.referenced.line()));
                        if let Node::Map(inner) = &element.value {
                            self.add(&format!("{place}."), inner);
                        }
                    }
                }
                Node::Scalar => {}
            }
        }
    }

    /// The line of a setting; `None` where the text leaves it out. What an element of a list leaves
    /// out is missing at the element.
    pub fn find(&self, place: &str) -> Option<u64> {
        let line = |place: &str| {
            let entry = self.0.iter().find(|(known, _)| known == place)?;
            Some(entry.1)
        };
        line(place).or_else(|| line(&element_of(place)?))
    }
}

/// `a.b[0]` of `a.b[0].c`.
fn element_of(place: &str) -> Option<String> {
    let (list, _) = place.rsplit_once("].")?;
    Some(format!("{list}]"))
}

/// Everything that is wrong with the shape of a text that could not be read, and what is left of it
/// without that.
pub(crate) fn diagnose<T: DeserializeOwned + Default>(
    text: &str,
    layout: Layout<'_>,
) -> (T, Vec<Mistake>) {
    let entries = match serde_saphyr::from_str::<Node>(text) {
        Ok(Node::Map(entries)) => entries,
        Ok(_) => {
            let what = "must be settings, as `usage:` and below it `  interval_ms: 1000`";
            return (T::default(), vec![whole(Some(1), what.to_owned())]);
        }
        Err(error) => return (T::default(), vec![first(&error)]),
    };
    let mut reading = Reading {
        text,
        layout,
        good: String::new(),
        mistakes: Vec::new(),
    };
    for (key, value) in &entries {
        let line = key.referenced.line();
        let section = layout.sections.iter().find(|(name, _)| *name == key.value);
        match (&value.value, section) {
            (Node::Map(settings), Some((name, known))) => {
                reading.section::<T>(name, known, settings);
            }
            (_, Some(_)) => reading.mistake(line, &key.value, "must be a section of settings"),
            (_, None) if layout.top.contains(&key.value.as_str()) => {
                reading.setting::<T>(None, key, value);
            }
            (_, None) => {
                let sections = layout.sections.iter().map(|(name, _)| name);
                let known = layout.top.iter().chain(sections);
                reading.unknown(line, &key.value, &key.value, known);
            }
        }
    }
    let config = serde_saphyr::from_str(&reading.good).unwrap_or_default();
    (config, reading.mistakes)
}

/// Where a setting stands: its section, its name, its place and its line.
struct At<'a> {
    section: Option<&'a str>,
    key: &'a str,
    place: String,
    line: u64,
}

impl At<'_> {
    /// The setting with this value, as a line of its own below its section.
    fn line_with(&self, value: &str) -> String {
        let indent = self.section.map_or("", |_| "  ");
        format!("{indent}{}: {value}\n", self.key)
    }

    /// The setting with this value, as a whole text.
    fn text_with(&self, value: &str) -> String {
        let section = self.section.map(|name| format!("{name}:\n"));
        format!("{}{}", section.unwrap_or_default(), self.line_with(value))
    }
}

struct Reading<'a> {
    text: &'a str,
    layout: Layout<'a>,
    /// The settings that could be read, each as a text of its own.
    good: String,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn section<T: DeserializeOwned>(
        &mut self,
        name: &str,
        known: &[&'static str],
        settings: &Entries,
    ) {
        let before = self.good.len();
        for (key, value) in settings {
            if known.contains(&key.value.as_str()) {
                self.setting::<T>(Some(name), key, value);
            } else {
                let place = format!("{name}.{}", key.value);
                self.unknown(key.referenced.line(), &place, &key.value, known.iter());
            }
        }
        if self.good.len() > before {
            self.good.insert_str(before, &format!("{name}:\n"));
        }
    }

    /// Reads one setting for itself.
    fn setting<T: DeserializeOwned>(
        &mut self,
        section: Option<&str>,
        key: &Spanned<String>,
        value: &Spanned<Node>,
    ) {
        let at = At {
            section,
            key: &key.value,
            place: section
                .map_or_else(|| key.value.clone(), |name| format!("{name}.{}", key.value)),
            line: key.referenced.line(),
        };
        let list = self.layout.lists.iter().find(|(name, _)| *name == at.place);
        match (&value.value, list) {
            (Node::List(elements), Some((_, names))) => self.list::<T>(&at, names, elements),
            (Node::Map(_), Some(_)) => self.mistake(at.line, &at.place, "must be a list"),
            (Node::Scalar, _) => {
                let raw = self.raw(value);
                match serde_saphyr::from_str::<T>(&at.text_with(&raw)).map(drop) {
                    Ok(()) => self.good.push_str(&at.line_with(&raw)),
                    Err(_) if list.is_some() => {
                        self.mistake(at.line, &at.place, &format!("must be a list, not {raw}"));
                    }
                    Err(error) => {
                        let must = must_be(at.key).map_or_else(|| message(&error), str::to_owned);
                        self.mistake(at.line, &at.place, &format!("{must}, not {raw}"));
                    }
                }
            }
            _ => self.mistake(at.line, &at.place, "must be a single value"),
        }
    }

    /// Reads each element of a list for itself, and each setting in it. One that cannot be read is
    /// left empty, so that the others keep their numbers.
    fn list<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        names: &[&'static str],
        elements: &[Spanned<Node>],
    ) {
        let mut good = Vec::new();
        for (number, element) in elements.iter().enumerate() {
            let place = format!("{}[{number}]", at.place);
            let line = element.referenced.line();
            match &element.value {
                Node::Scalar if names.is_empty() => {
                    let raw = self.raw(element);
                    let part = in_a_list(&raw);
                    if self.is_part::<T>(at, (line, &place), &raw, &format!("[{part}]")) {
                        good.push(part);
                    }
                }
                Node::Map(settings) if !names.is_empty() => {
                    let inner = self.element::<T>(at, &place, names, settings);
                    good.push(format!("{{{}}}", inner.join(", ")));
                }
                _ if names.is_empty() => self.mistake(line, &place, "must be a single value"),
                _ => {
                    let what = format!("must be settings: {}", names.join(", "));
                    self.mistake(line, &place, &what);
                    good.push("{}".to_owned());
                }
            }
        }
        let good = at.line_with(&format!("[{}]", good.join(", ")));
        self.good.push_str(&good);
    }

    /// The settings of one element that could be read.
    fn element<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        place: &str,
        names: &[&'static str],
        settings: &Entries,
    ) -> Vec<String> {
        let mut good = Vec::new();
        for (key, value) in settings {
            let (name, line) = (&key.value, key.referenced.line());
            let place = format!("{place}.{name}");
            if !names.contains(&name.as_str()) {
                self.unknown(line, &place, name, names.iter());
            } else if matches!(value.value, Node::Scalar) {
                let raw = self.raw(value);
                let part = format!("{name}: {}", in_a_list(&raw));
                if self.is_part::<T>(at, (line, &place), &raw, &format!("[{{{part}}}]")) {
                    good.push(part);
                }
            } else {
                self.mistake(line, &place, "must be a single value");
            }
        }
        good
    }

    /// Whether a part of a list can be read alone.
    fn is_part<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        (line, place): (u64, &str),
        raw: &str,
        alone: &str,
    ) -> bool {
        let read = serde_saphyr::from_str::<T>(&at.text_with(alone)).map(drop);
        if let Err(error) = &read {
            self.mistake(line, place, &format!("{}, not {raw}", message(error)));
        }
        read.is_ok()
    }

    /// The text of a value as it stands; one over several lines as a string of one.
    fn raw(&self, value: &Spanned<Node>) -> String {
        let span = value.referenced.span();
        let bytes = span.byte_offset().zip(span.byte_len());
        let raw = bytes.and_then(|(from, len)| {
            let from = usize::try_from(from).ok()?;
            self.text.get(from..from + usize::try_from(len).ok()?)
        });
        let raw = raw.unwrap_or_default().trim();
        if raw.contains('\n') {
            format!("{raw:?}")
        } else {
            raw.to_owned()
        }
    }

    fn mistake(&mut self, line: u64, place: &str, what: &str) {
        self.mistakes.push(Mistake {
            line: Some(line),
            place: place.to_owned(),
            what: what.to_owned(),
        });
    }

    fn unknown<'n>(
        &mut self,
        line: u64,
        place: &str,
        given: &str,
        known: impl Iterator<Item = &'n &'static str>,
    ) {
        let known: Vec<&str> = known.copied().collect();
        let nearest = known
            .iter()
            .map(|name| (distance(given, name), *name))
            .min()
            .filter(|(far, name)| *far <= name.len().div_ceil(3).max(2));
        let what = match nearest {
            Some((_, name)) => format!("there is no such setting; did you mean {name}?"),
            None => format!("there is no such setting; there are {}", known.join(", ")),
        };
        self.mistake(line, place, &what);
    }
}

/// A plain value may hold characters that end it where lists are written in brackets.
fn in_a_list(raw: &str) -> String {
    let is_quoted = raw.starts_with(['"', '\'']);
    if !is_quoted && raw.contains([',', '[', ']', '{', '}']) {
        format!("{raw:?}")
    } else {
        raw.to_owned()
    }
}

/// What a setting must be, by the unit or the last word of its name.
fn must_be(key: &str) -> Option<&'static str> {
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

fn whole(line: Option<u64>, what: String) -> Mistake {
    Mistake {
        line,
        place: String::new(),
        what,
    }
}

/// The one mistake at which reading had to stop.
pub(crate) fn first(error: &serde_saphyr::Error) -> Mistake {
    let line = error.location().map(|location| location.line());
    whole(line, message(error))
}

/// What the reader says, without the place, which is said elsewhere.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or_default();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text.strip_prefix("invalid ") {
        Some("u8" | "u16" | "u32" | "u64" | "usize") => {
            "must be a whole number within its bounds".to_owned()
        }
        Some("bool" | "boolean") => "must be true or false".to_owned(),
        _ => text.to_owned(),
    }
}

/// Insertions, deletions and changes of a character between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
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
