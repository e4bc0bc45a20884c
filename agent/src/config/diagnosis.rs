//! Where each setting of a configuration text stands, and everything that is wrong with its shape.
//!
//! The text is read twice. First as a whole, by the types of the configuration: if that works, it
//! is what it says, and only the lines are needed here. If it does not, the reader had to stop at the
//! first mistake; so each setting is then read for itself, by the same types, and each that cannot be
//! is a mistake of its own. What can be read is put together again, so that its values are checked
//! as well. Knows neither files nor what a value means.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Something is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Counted from 1; `None` where the text does not mention the setting.
    pub(super) line: Option<u64>,
    /// `section.key`, or empty for the text as a whole.
    pub(super) place: String,
    /// What it must be instead.
    pub(super) what: String,
}

impl Mistake {
    /// As it is shown: `name:line: place: what`.
    pub(super) fn show(&self, name: &str) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = match self.place.as_str() {
            "" => String::new(),
            place => format!("{place}: "),
        };
        format!("{name}{line}: {place}{}", self.what)
    }
}

/// A section of the configuration and the names of its settings.
pub(super) type Section = (&'static str, &'static [&'static str]);

/// Where the settings stand: place and line, in the order of the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Vec<(String, u64)>);

impl Lines {
    /// Of a text that could be read.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Vec::new();
        if let Ok(Node::Map(entries)) = serde_saphyr::from_str::<Node>(text) {
            for (key, value) in entries {
                lines.push((key.value.clone(), key.referenced.line()));
                if let Node::Map(settings) = value.value {
                    lines.extend(settings.into_iter().map(|(inner, _)| {
                        (
                            format!("{}.{}", key.value, inner.value),
                            inner.referenced.line(),
                        )
                    }));
                }
            }
        }
        Self(lines)
    }

    /// The line of a setting; `None` where the text leaves it out.
    pub(super) fn find(&self, place: &str) -> Option<u64> {
        let entry = self.0.iter().find(|(known, _)| known == place)?;
        Some(entry.1)
    }
}

/// Everything that is wrong with the shape of a text that could not be read, and what is left of it
/// without that. `top` are the settings that lie in no section.
pub(super) fn diagnose<T: DeserializeOwned + Default>(
    text: &str,
    top: &[&'static str],
    sections: &[Section],
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
        good: String::new(),
        mistakes: Vec::new(),
    };
    for (key, value) in &entries {
        let line = key.referenced.line();
        let section = sections.iter().find(|(name, _)| *name == key.value);
        match (&value.value, section) {
            (Node::Map(settings), Some((name, known))) => {
                reading.section::<T>(name, known, settings);
            }
            (_, Some(_)) => reading.mistake(line, &key.value, "must be a section of settings"),
            (_, None) if top.contains(&key.value.as_str()) => {
                reading.setting::<T>(None, key, value);
            }
            (_, None) => {
                let known = top.iter().chain(sections.iter().map(|(name, _)| name));
                reading.unknown(line, &key.value, &key.value, known);
            }
        }
    }
    let config = serde_saphyr::from_str(&reading.good).unwrap_or_default();
    (config, reading.mistakes)
}

struct Reading<'a> {
    text: &'a str,
    /// The settings that could be read, each as a text of its own.
    good: String,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn section<T: DeserializeOwned>(
        &mut self,
        name: &str,
        known: &[&'static str],
        settings: &[(Spanned<String>, Spanned<Node>)],
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
        let raw = self.raw(value);
        let (mut place, mut line) = (key.value.clone(), format!("{}: {raw}\n", key.value));
        let mut alone = line.clone();
        if let Some(name) = section {
            place = format!("{name}.{place}");
            line = format!("  {line}");
            alone = format!("{name}:\n{line}");
        }
        let read = matches!(value.value, Node::Scalar)
            .then(|| serde_saphyr::from_str::<T>(&alone).map(drop));
        match read {
            Some(Ok(())) => self.good.push_str(&line),
            Some(Err(error)) => {
                let what = must_be(&key.value).map_or_else(|| message(&error), str::to_owned);
                let what = format!("{what}, not {raw}");
                self.mistake(key.referenced.line(), &place, &what);
            }
            None => self.mistake(key.referenced.line(), &place, "must be a single value"),
        }
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

/// What a setting must be, by the unit in its name.
fn must_be(key: &str) -> Option<&'static str> {
    [
        ("_ms", "must be a plain number of milliseconds, as 1000"),
        ("_s", "must be a plain number of seconds, as 60"),
        ("_bytes", "must be a plain number of bytes, as 1048576"),
    ]
    .into_iter()
    .find(|(unit, _)| key.ends_with(unit))
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
pub(super) fn first(error: &serde_saphyr::Error) -> Mistake {
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
        Some("u64" | "u32" | "usize") => "must be a whole number within its bounds".to_owned(),
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

/// The shape of a text, with its places; values are only looked at where they stand.
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List,
    Scalar,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<Node>()?.is_some() {}
        Ok(Node::List)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The names of a struct's fields, as its derived reader asks for them.
pub(super) fn names_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The asking is all that is wanted: it always ends in an error.
    drop(T::deserialize(Names(&mut names)));
    names
}

struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only a struct has names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
