//! The entity that a batch may name: what is wrong with it is told, and the events are stored all the
//! same (API reference, Entity and RejectedEntityInfo).

use std::collections::BTreeMap;

use serde::Deserialize;

/// Keys that may identify an entity.
const KEYS: [&str; 5] = ["Type", "ResourceType", "Identifier", "Name", "Environment"];
/// How many of them: at least, at most.
const KEYS_FROM_TO: (usize, usize) = (2, 4);
const ATTRIBUTES_AT_MOST: usize = 10;
/// Characters of the name of an attribute.
const NAME_AT_MOST: usize = 256;
/// Characters of a value.
const VALUE_AT_MOST: usize = 512;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entity {
    #[serde(default)]
    key_attributes: BTreeMap<String, String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

impl Entity {
    /// The `errorType` that tells why it is rejected; `None`: it is not.
    pub(super) fn rejection(&self) -> Option<&'static str> {
        let keys = &self.key_attributes;
        let (from, to) = KEYS_FROM_TO;
        let size = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
        let mut values = keys.values().chain(self.attributes.values());
        if keys.is_empty() {
            Some("MissingRequiredFields")
        } else if !(from..=to).contains(&keys.len())
            || keys.keys().any(|key| !KEYS.contains(&key.as_str()))
            || !keys.contains_key("Type")
        {
            Some("InvalidKeyAttributes")
        } else if values.any(|value| !size(value, VALUE_AT_MOST)) {
            Some("EntitySizeTooLarge")
        } else if self.attributes.len() > ATTRIBUTES_AT_MOST
            || self.attributes.keys().any(|name| !size(name, NAME_AT_MOST))
        {
            Some("InvalidAttributes")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(keys: &[(&str, &str)], attributes: usize) -> Entity {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Entity {
            key_attributes: keys.iter().map(owned).collect(),
            attributes: (0..attributes)
                .map(|n| (n.to_string(), "v".to_owned()))
                .collect(),
        }
    }

    #[test]
    fn an_entity_is_rejected_for_what_is_wrong_with_it() {
        let (kind, name) = (("Type", "Service"), ("Name", "plimsoll"));
        let rejection = |keys: &[_], attributes| entity(keys, attributes).rejection();
        assert_eq!(rejection(&[kind, name], 10), None);
        assert_eq!(rejection(&[kind, name], 11), Some("InvalidAttributes"));
        assert_eq!(rejection(&[], 0), Some("MissingRequiredFields"));
        assert_eq!(rejection(&[kind], 0), Some("InvalidKeyAttributes"));
        assert_eq!(
            rejection(&[kind, ("name", "x")], 0),
            Some("InvalidKeyAttributes")
        );
        let five = KEYS.map(|key| (key, "x"));
        assert_eq!(rejection(&five, 0), Some("InvalidKeyAttributes"));
        assert_eq!(rejection(&five[..4], 0), None);
        let (fits, too_long) = ("x".repeat(512), "x".repeat(513));
        assert_eq!(rejection(&[kind, ("Name", &fits)], 0), None);
        assert_eq!(
            rejection(&[kind, ("Name", &too_long)], 0),
            Some("EntitySizeTooLarge")
        );
    }
}
