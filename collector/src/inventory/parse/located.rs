//! Where in a document each node stands: read only to say the line of a mistake.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Options, Spanned};

use super::Step;

/// A document's skeleton with the place of each node; scalars' values are not kept.
pub(super) enum Located {
    Scalar,
    List(Vec<Spanned<Located>>),
    Map(Vec<(String, Spanned<Located>)>),
}

impl Located {
    /// `None` if the text is no YAML.
    pub(super) fn read(text: &str, options: Options) -> Option<Spanned<Self>> {
        serde_saphyr::from_str_with_options(text, options).ok()
    }
}

/// The line within the document of the deepest part of the path that there is.
pub(super) fn line_of(root: &Spanned<Located>, path: &[Step]) -> u64 {
    let mut node = root;
    for step in path {
        let next = match (&node.value, step) {
            (Located::Map(entries), Step::Key(key)) => {
                entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
            }
            (Located::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node.referenced.line()
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Skeleton;

        macro_rules! scalars {
            ($($visit:ident: $type:ty),*) => {
                $(fn $visit<E>(self, _: $type) -> Result<Located, E> { Ok(Located::Scalar) })*
            };
        }

        impl<'de> Visitor<'de> for Skeleton {
            type Value = Located;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64, visit_str: &str);

            fn visit_unit<E>(self) -> Result<Located, E> {
                Ok(Located::Scalar)
            }

            fn visit_none<E>(self) -> Result<Located, E> {
                Ok(Located::Scalar)
            }

            fn visit_some<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Located, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Located, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Located::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Located, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Value>()? {
                    match key {
                        Value::String(key) => entries.push((key, map.next_value()?)),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Located::Map(entries))
            }
        }

        deserializer.deserialize_any(Skeleton)
    }
}
