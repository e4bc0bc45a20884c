//! The elements of lists, and what is in them: settings, sections and lists of plain values.
//!
//! A part is read alone as the whole text of its setting would be with nothing else in it. Knows only one
//! setting at a time.

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use super::{At, Reading, general, raw};
use crate::node::{Entries, Node};
use crate::words::{message, must_be, not};

impl Reading<'_> {
    /// Reads each element of a list for itself, and each setting in it. One that cannot be read is
    /// left empty, so that the others keep their numbers.
    pub(super) fn list<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        names: &[&'static str],
        elements: &[Spanned<Node>],
    ) {
        let good = if names.is_empty() {
            self.values::<T>(at, &at.place, elements, &|list| list.to_owned())
        } else {
            let mut good = Vec::new();
            for (number, element) in elements.iter().enumerate() {
                let place = format!("{}[{number}]", at.place);
                let mut inner = Vec::new();
                if let Node::Map(settings) = &element.value {
                    let alone = |inner: &str| format!("[{{{inner}}}]");
                    inner = self.element::<T>(at, &place, names, settings, &alone);
                } else {
                    let what = format!("must be settings: {}", names.join(", "));
                    self.mistake(element.referenced.line(), &place, &what);
                }
                good.push(format!("{{{}}}", inner.join(", ")));
            }
            good
        };
        self.good(at, &format!("[{}]", good.join(", ")));
    }

    /// The plain values of a list that could be read; `alone` is the setting's text around such a list.
    fn values<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        place: &str,
        elements: &[Spanned<Node>],
        alone: &dyn Fn(&str) -> String,
    ) -> Vec<String> {
        let mut good = Vec::new();
        for (number, element) in elements.iter().enumerate() {
            let (line, place) = (element.referenced.line(), format!("{place}[{number}]"));
            if matches!(element.value, Node::Scalar) {
                let raw = raw(self.text, element);
                let part = in_a_list(&raw);
                let alone = alone(&format!("[{part}]"));
                if self.is_part::<T>(at, (line, &place), &raw, &alone) {
                    good.push(part);
                }
            } else {
                self.mistake(line, &place, "must be a single value");
            }
        }
        good
    }

    /// The settings of one element, or of a section in it, that could be read; `alone` is the list's text
    /// around such settings.
    fn element<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        place: &str,
        names: &[&'static str],
        settings: &Entries,
        alone: &dyn Fn(&str) -> String,
    ) -> Vec<String> {
        let mut good: Vec<(&str, String)> = Vec::new();
        self.twice(&format!("{place}."), settings);
        for (key, value) in settings {
            let (name, line) = (&key.value, key.referenced.line());
            let place = format!("{place}.{name}");
            if !names.contains(&name.as_str()) {
                self.unknown(line, &place, name, names.iter());
                continue;
            }
            let part = self.part::<T>(at, (line, &place), (name, value), alone);
            if let Some(part) = part
                && good.iter().all(|(known, _)| known != name)
            {
                good.push((name, format!("{name}: {part}")));
            }
        }
        good.into_iter().map(|(_, part)| part).collect()
    }

    /// The value of one of them, if it could be read.
    fn part<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        (line, place): (u64, &str),
        (name, value): (&str, &Spanned<Node>),
        alone: &dyn Fn(&str) -> String,
    ) -> Option<String> {
        let general = general(place);
        let within = |known: &[(&str, &'static [&'static str])]| {
            let found = known.iter().find(|(name, _)| *name == general);
            found.map(|(_, names)| *names)
        };
        let (section, list) = (within(self.layout.sections), within(self.layout.lists));
        match (&value.value, section, list) {
            (Node::Map(settings), Some(names), _) => {
                let alone = |inner: &str| alone(&format!("{name}: {{{inner}}}"));
                let inner = self.element::<T>(at, place, names, settings, &alone);
                Some(format!("{{{}}}", inner.join(", ")))
            }
            (Node::List(elements), _, Some(_)) => {
                let alone = |list: &str| alone(&format!("{name}: {list}"));
                let values = self.values::<T>(at, place, elements, &alone);
                Some(format!("[{}]", values.join(", ")))
            }
            (_, Some(_), _) => {
                self.mistake(line, place, "must be a section of settings");
                None
            }
            (Node::Map(_), _, Some(_)) => {
                self.mistake(line, place, "must be a list");
                None
            }
            (Node::Scalar, _, Some(_)) => {
                let what = not("must be a list", &raw(self.text, value));
                self.mistake(line, place, &what);
                None
            }
            (Node::Scalar, ..) => {
                let raw = raw(self.text, value);
                let part = in_a_list(&raw);
                let alone = alone(&format!("{name}: {part}"));
                self.is_part::<T>(at, (line, place), &raw, &alone)
                    .then_some(part)
            }
            _ => {
                self.mistake(line, place, "must be a single value");
                None
            }
        }
    }

    /// Whether a part of a list can be read alone.
    fn is_part<T: DeserializeOwned>(
        &mut self,
        at: &At<'_>,
        (line, place): (u64, &str),
        raw: &str,
        alone: &str,
    ) -> bool {
        let read = serde_saphyr::from_str::<T>(&at.text_with(alone));
        let written = self.kinds.get(place);
        let must = match (read, written.and_then(|value| value.wrong(raw))) {
            (_, Some(must)) => must.to_owned(),
            (Err(error), None) => must_be(place).map_or_else(|| message(&error), str::to_owned),
            (Ok(_), None) => return true,
        };
        self.mistake(line, place, &not(&must, raw));
        false
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
