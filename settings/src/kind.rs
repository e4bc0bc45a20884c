//! What kind of value each setting has, as its type asks for it; and how a value of that kind is
//! written.
//!
//! The reader is generous: it takes `"true"` for true and `0x10` for 16. A file that is read by people
//! and by other programs says what it means in one way, so the way is checked here.

use std::collections::BTreeMap;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::de::{Error as _, IntoDeserializer as _};

use crate::diagnosis::general;

/// Places asked for at the most; a type that holds itself has no end of them.
const MAX_PLACES: usize = 1_000;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Float,
    Text,
    /// Settings within a value, or something rarer: the reader's judgement stands.
    Other,
}

/// A setting, and whether it may be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) is_optional: bool,
}

impl Value {
    /// What a value in this writing must be instead; `None` if it is written well.
    pub(crate) fn wrong(self, raw: &str) -> Option<&'static str> {
        // A tag, or something rarer: what it means is the reader's matter.
        if raw.starts_with(['*', '&', '!', '<']) {
            return None;
        }
        if is_nothing(raw) {
            return (!self.is_optional && self.kind != Kind::Other).then_some("must have a value");
        }
        let is_quoted = raw.starts_with(['"', '\'']);
        match self.kind {
            Kind::Bool if is_quoted => Some("must be true or false without quotes"),
            Kind::Integer if is_quoted => Some("must be a whole number without quotes"),
            Kind::Integer if !is_plain(raw) && is_number(raw) => {
                Some("must be a whole number in decimal digits")
            }
            Kind::Float if is_quoted => Some("must be a number without quotes"),
            _ => None,
        }
    }
}

/// No value at all.
pub(crate) fn is_nothing(raw: &str) -> bool {
    matches!(raw, "" | "~" | "null" | "Null" | "NULL")
}

fn is_plain(raw: &str) -> bool {
    let digits = raw.strip_prefix(['+', '-']).unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether somebody meant a number by it: `0x10`, `1_000`.
fn is_number(raw: &str) -> bool {
    let digits = raw.strip_prefix(['+', '-']).unwrap_or(raw);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && (digits.contains('_') || digits.starts_with('0'))
}

/// The kind of each setting of a type by its place; an element of a list is `place[]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds(BTreeMap<String, Option<Value>>);

impl Kinds {
    /// Asks a type for all of its settings.
    pub(crate) fn of<'de, T: Deserialize<'de>>() -> Self {
        let mut kinds = Self::default();
        // Each round ends in an error at the first place that was not known yet.
        for _ in 0..MAX_PLACES {
            let known = kinds.0.len();
            drop(T::deserialize(Asked {
                place: String::new(),
                is_optional: false,
                kinds: &mut kinds,
            }));
            if kinds.0.len() == known || kinds.0.contains_key("") {
                break;
            }
        }
        kinds
    }

    /// Of a place as a person writes it: `section.list[3].name`.
    pub(crate) fn get(&self, place: &str) -> Option<Value> {
        self.0.get(&general(place)).copied().flatten()
    }
}

/// One place of a type that is asked what it wants there.
struct Asked<'a> {
    place: String,
    is_optional: bool,
    kinds: &'a mut Kinds,
}

impl Asked<'_> {
    fn wants(self, kind: Kind) -> Error {
        let value = Value {
            kind,
            is_optional: self.is_optional,
        };
        self.kinds.0.insert(self.place, Some(value));
        Error::custom("one place is known")
    }

    /// Everything within is known.
    fn done(self) -> Error {
        self.kinds.0.insert(self.place, None);
        Error::custom("all places are known")
    }
}

macro_rules! kinds {
    ($($ask:ident)*, $kind:expr) => {
        $(fn $ask<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(self.wants($kind))
        })*
    };
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    kinds!(deserialize_bool, Kind::Bool);
    kinds!(
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128,
        Kind::Integer
    );
    kinds!(deserialize_f32 deserialize_f64, Kind::Float);
    kinds!(deserialize_char deserialize_str deserialize_string, Kind::Text);
    kinds!(
        deserialize_any deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_map
        deserialize_identifier deserialize_ignored_any,
        Kind::Other
    );

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.is_optional = true;
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let place = format!("{}[]", self.place);
        if self.kinds.0.contains_key(&place) {
            return Err(self.done());
        }
        visitor.visit_seq(Part {
            name: "",
            place,
            kinds: self.kinds,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let inside = if self.place.is_empty() { "" } else { "." };
        let place = |name: &str| format!("{}{inside}{name}", self.place);
        let unknown = fields
            .iter()
            .find(|name| !self.kinds.0.contains_key(&place(name)));
        let Some(name) = unknown else {
            return Err(self.done());
        };
        visitor.visit_map(Part {
            name,
            place: place(name),
            kinds: self.kinds,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(self.wants(Kind::Other))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.wants(Kind::Other))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.wants(Kind::Other))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.wants(Kind::Other))
    }
}

/// The one field of a struct, or element of a list, that is asked next.
struct Part<'a> {
    name: &'static str,
    place: String,
    kinds: &'a mut Kinds,
}

impl Part<'_> {
    fn ask<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Asked {
            place: self.place.clone(),
            is_optional: false,
            kinds: self.kinds,
        })
    }
}

impl<'de> MapAccess<'de> for Part<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.ask(seed)
    }
}

impl<'de> SeqAccess<'de> for Part<'_> {
    type Error = Error;

    fn next_element_seed<E: DeserializeSeed<'de>>(
        &mut self,
        seed: E,
    ) -> Result<Option<E::Value>, Error> {
        self.ask(seed).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Ship {
        name: String,
        is_afloat: bool,
        harbour: Option<std::net::SocketAddr>,
        hold: Hold,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Hold {
        crew: Vec<Sailor>,
        paths: Vec<std::path::PathBuf>,
        draught: f64,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Sailor {
        age: Option<u8>,
    }

    #[test]
    fn a_type_tells_the_kind_of_each_of_its_settings() {
        let kinds = Kinds::of::<Ship>();
        for (place, kind, is_optional) in [
            ("name", Kind::Text, false),
            ("is_afloat", Kind::Bool, false),
            ("harbour", Kind::Text, true),
            ("hold.crew[3].age", Kind::Integer, true),
            ("hold.paths[0]", Kind::Text, false),
            ("hold.draught", Kind::Float, false),
        ] {
            assert_eq!(
                kinds.get(place),
                Some(Value { kind, is_optional }),
                "{place}"
            );
        }
        assert_eq!(kinds.get("hold"), None);
        assert_eq!(kinds.get("hold.depth"), None);
    }

    #[test]
    fn values_are_written_in_one_way() {
        let check = |kind, raw: &str, must: Option<&str>| {
            let value = Value {
                kind,
                is_optional: false,
            };
            assert_eq!(value.wrong(raw), must, "{kind:?} {raw}");
        };
        for raw in [
            "0",
            "-5",
            "+7",
            "18446744073709551616",
            "many",
            "1s",
            "*five",
        ] {
            check(Kind::Integer, raw, None);
        }
        for raw in ["0x10", "0o17", "0b1", "1_000"] {
            check(
                Kind::Integer,
                raw,
                Some("must be a whole number in decimal digits"),
            );
        }
        check(
            Kind::Integer,
            "'5'",
            Some("must be a whole number without quotes"),
        );
        check(Kind::Bool, "yes", None);
        check(
            Kind::Bool,
            "\"true\"",
            Some("must be true or false without quotes"),
        );
        check(Kind::Text, "'12'", None);
        for nothing in ["", "~", "null"] {
            check(Kind::Text, nothing, Some("must have a value"));
            check(Kind::Bool, nothing, Some("must have a value"));
        }
    }
}
