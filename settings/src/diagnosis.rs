//! Where each setting of a configuration text stands, and everything that is wrong with its shape.
//!
//! The text is read twice. First as a whole, by the types of the configuration: if that works, and
//! each value is written as its kind should be, it is what it says, and only the lines are needed here.
//! If it does not, the reader had to stop at the first mistake; so each setting is then read for
//! itself, by the same types, and each that cannot be is a mistake of its own. What can be read is put
//! together again, so that its values are checked as well; of what is given twice, the first. Knows
//! neither files nor what a value means.

mod elements;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use crate::Layout;
use crate::kind::Kinds;
use crate::node::{Entries, Node};
use crate::words::{distance, message, must_be, not};

/// Something is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Counted from 1; `None` where the text does not mention the setting.
    pub(crate) line: Option<u64>,
    /// `section.key`, or empty for the text as a whole.
    pub(crate) place: String,
    /// What it must be instead.
    pub(crate) what: String,
    /// The value could be read all the same, so that it is checked.
    pub(crate) is_read: bool,
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
        if let Ok(Node::Map(entries)) = Node::of(text) {
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

    /// Whether the text itself gives a setting.
    pub fn has(&self, place: &str) -> bool {
        self.0.iter().any(|(known, _)| known == place)
    }

    /// The line of a setting; `None` where the text leaves it out. What an element of a list leaves
    /// out is missing at the element, and what a section leaves out, at the section.
    pub fn find(&self, place: &str) -> Option<u64> {
        let line = |place: &str| {
            let entry = self.0.iter().find(|(known, _)| known == place)?;
            Some(entry.1)
        };
        let outer = |place| str::rsplit_once(place, '.').map(|(section, _)| section);
        let mut sections = std::iter::successors(outer(place), |section| outer(section));
        line(place).or_else(|| sections.find_map(line))
    }
}

/// Whether a text that could be read has a value that is not written as its kind should be.
pub(crate) fn is_loose<T: DeserializeOwned>(text: &str) -> bool {
    fn within(node: &Spanned<Node>, place: &str, text: &str, kinds: &Kinds) -> bool {
        match &node.value {
            Node::Map(entries) => entries.iter().any(|(key, value)| {
                let inside = if place.is_empty() { "" } else { "." };
                within(value, &format!("{place}{inside}{}", key.value), text, kinds)
            }),
            Node::List(elements) => elements
                .iter()
                .any(|element| within(element, &format!("{place}[0]"), text, kinds)),
            Node::Scalar => kinds
                .get(place)
                .is_some_and(|value| value.wrong(&raw(text, node)).is_some()),
        }
    }
    let kinds = Kinds::of::<T>();
    let Ok(Node::Map(entries)) = Node::of(text) else {
        return false;
    };
    entries
        .iter()
        .any(|(key, value)| within(value, &key.value, text, &kinds))
}

/// Everything that is wrong with the shape of a text that could not be read, and what is left of it
/// without that.
pub(crate) fn diagnose<T: DeserializeOwned + Default>(
    text: &str,
    layout: Layout<'_>,
) -> (T, Vec<Mistake>) {
    let entries = match Node::of(text) {
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
        kinds: Kinds::of::<T>(),
        good: Vec::new(),
        mistakes: Vec::new(),
    };
    reading.twice("", &entries);
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
    let config = serde_saphyr::from_str(&reading.all_good()).unwrap_or_default();
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
        let depth = self.section.map_or(0, |name| name.split('.').count());
        format!("{}{}: {value}\n", "  ".repeat(depth), self.key)
    }

    /// The setting with this value, as a whole text.
    fn text_with(&self, value: &str) -> String {
        let sections = self.section.iter().flat_map(|name| name.split('.'));
        let heads = (0..).zip(sections).map(|(depth, name)| head(depth, name));
        format!("{}{}", heads.collect::<String>(), self.line_with(value))
    }
}

/// The line that begins a section.
fn head(depth: usize, name: &str) -> String {
    format!("{}{name}:\n", "  ".repeat(depth))
}

struct Reading<'a> {
    text: &'a str,
    layout: Layout<'a>,
    kinds: Kinds,
    /// The settings that could be read: section and name, and the line that says it.
    good: Vec<((Option<String>, String), String)>,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn section<T: DeserializeOwned>(
        &mut self,
        name: &str,
        known: &[&'static str],
        settings: &Entries,
    ) {
        self.twice(&format!("{name}."), settings);
        for (key, value) in settings {
            let place = format!("{name}.{}", key.value);
            let mut sections = self.layout.sections.iter();
            let inner = sections.find(|(section, _)| *section == place);
            if let Some((inner, known)) = inner {
                if let Node::Map(settings) = &value.value {
                    self.section::<T>(inner, known, settings);
                } else {
                    let line = key.referenced.line();
                    self.mistake(line, &place, "must be a section of settings");
                }
            } else if known.contains(&key.value.as_str()) {
                self.setting::<T>(Some(name), key, value);
            } else {
                self.unknown(key.referenced.line(), &place, &key.value, known.iter());
            }
        }
    }

    /// A setting could be read; the first of two is kept.
    fn good(&mut self, at: &At<'_>, value: &str) {
        let name = (at.section.map(str::to_owned), at.key.to_owned());
        if !self.good.iter().any(|(known, _)| *known == name) {
            self.good.push((name, at.line_with(value)));
        }
    }

    /// All that could be read, as a text; a section that is given twice is one in it.
    fn all_good(&self) -> String {
        let of = |section: Option<&str>| {
            let lines = self.good.iter();
            let lines = lines.filter(move |((of, _), _)| of.as_deref() == section);
            lines.map(|(_, line)| line.as_str()).collect::<String>()
        };
        let mut text = of(None);
        for (name, _) in self
            .layout
            .sections
            .iter()
            .filter(|(name, _)| !name.contains('.'))
        {
            let mut settings = of(Some(name));
            for (inner, _) in self.layout.sections {
                let key = inner
                    .strip_prefix(name)
                    .and_then(|key| key.strip_prefix('.'));
                let lines = of(Some(inner));
                if let Some(key) = key.filter(|_| !lines.is_empty()) {
                    settings.extend([&head(1, key), &lines].map(String::as_str));
                }
            }
            if !settings.is_empty() {
                text.extend([&head(0, name), &settings].map(String::as_str));
            }
        }
        text
    }

    /// Names each key that was given before.
    fn twice(&mut self, inside: &str, entries: &Entries) {
        let mut lines = BTreeMap::new();
        for (key, _) in entries {
            let line = key.referenced.line();
            match lines.entry(key.value.as_str()) {
                Entry::Vacant(place) => {
                    place.insert(line);
                }
                Entry::Occupied(first) => self.mistakes.push(Mistake {
                    line: Some(line),
                    place: format!("{inside}{}", key.value),
                    what: format!("is given twice, first in line {}", first.get()),
                    is_read: true,
                }),
            }
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
                let raw = raw(self.text, value);
                let written = self.kinds.get(&at.place);
                let read = serde_saphyr::from_str::<T>(&at.text_with(&raw)).map(drop);
                match (read, written.and_then(|value| value.wrong(&raw))) {
                    (_, Some(must)) => self.mistake(at.line, &at.place, &not(must, &raw)),
                    (Ok(()), None) => self.good(&at, &raw),
                    (Err(_), None) if list.is_some() => {
                        self.mistake(at.line, &at.place, &not("must be a list", &raw));
                    }
                    (Err(error), None) => {
                        let must = must_be(at.key).map_or_else(|| message(&error), str::to_owned);
                        self.mistake(at.line, &at.place, &not(&must, &raw));
                    }
                }
            }
            _ => self.mistake(at.line, &at.place, "must be a single value"),
        }
    }

    fn mistake(&mut self, line: u64, place: &str, what: &str) {
        self.mistakes.push(Mistake {
            line: Some(line),
            place: place.to_owned(),
            what: what.to_owned(),
            is_read: false,
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

/// The text of a value as it stands, of an alias or a merge the text that it stands for; one over
/// several lines as a string of one.
fn raw(text: &str, value: &Spanned<Node>) -> String {
    let span = value.defined.span();
    let bytes = span.byte_offset().zip(span.byte_len());
    let raw = bytes.and_then(|(from, len)| {
        let from = usize::try_from(from).ok()?;
        text.get(from..from + usize::try_from(len).ok()?)
    });
    let raw = raw.unwrap_or_default().trim();
    if raw.contains('\n') {
        format!("{raw:?}")
    } else {
        raw.to_owned()
    }
}

/// `a[].b` of `a[3].b`: of a place, what it is in every element.
pub(crate) fn general(place: &str) -> String {
    let mut general = String::with_capacity(place.len());
    let mut parts = place.split('[');
    general.push_str(parts.next().unwrap_or_default());
    for part in parts {
        general.push('[');
        let end = part.find(']').unwrap_or(0);
        general.push_str(part.get(end..).unwrap_or_default());
    }
    general
}

fn whole(line: Option<u64>, what: String) -> Mistake {
    Mistake {
        line,
        place: String::new(),
        what,
        is_read: false,
    }
}

/// The one mistake at which reading had to stop.
pub(crate) fn first(error: &serde_saphyr::Error) -> Mistake {
    let line = error.location().map(|location| location.line());
    whole(line, message(error))
}
