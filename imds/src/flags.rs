//! Remarks on a request: a closed, sorted vocabulary.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// A set of remarks; serialised as a sorted array of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $constant:ident = $name:literal),+ $(,)?) => {
        #[expect(non_camel_case_types, reason = "positions of the constants below")]
        #[expect(clippy::upper_case_acronyms, reason = "positions of the constants below")]
        enum Position { $($constant),+ }
        impl Flags {
            /// Every name, in order of its bit, which is alphabetical order.
            pub const NAMES: &[&str] = &[$($name),+];
            $($(#[$doc])* pub const $constant: Self = Self(1 << Position::$constant as u32);)+
        }
    };
}

flags! {
    /// The request target is a whole URI, as a proxy is addressed.
    ABSOLUTE_FORM = "absolute_form",
    /// `Host` (or the authority of an absolute URI) does not name the endpoint.
    BAD_HOST = "bad_host",
    /// Token TTL header missing on a token request, or not a number of 1..=21600.
    BAD_TTL = "bad_ttl",
    /// No request is known for this answer, and its body alone tells the class.
    CLASS_FROM_ANSWER = "class_from_answer",
    /// Bytes of the connection were seen on the wire and are longer than what a capture keeps.
    CUT = "cut",
    /// The token header occurs more than once.
    DUPLICATE_TOKEN = "duplicate_token",
    /// An IP fragment belongs to the connection.
    FRAGMENTED = "fragmented",
    /// Bytes of the connection were not captured.
    GAP = "gap",
    /// The head was longer than the limit, or its end was not captured.
    HEADER_TRUNCATED = "header_truncated",
    /// A request line without HTTP version.
    HTTP09 = "http09",
    /// The answer came after the request was given up: an event of its own, which the request's own
    /// event does not know of.
    LATE_ANSWER = "late_answer",
    /// Contradicting body lengths: two parsers may see different requests.
    LENGTH_CONFLICT = "length_conflict",
    /// A line ends with LF alone.
    LF_ONLY = "lf_only",
    /// A header line without colon, with blanks in its name, or folded.
    MALFORMED_HEADER = "malformed_header",
    /// A token that no endpoint can have issued.
    MALFORMED_TOKEN = "malformed_token",
    /// A method that the path does not serve.
    METHOD_ANOMALY = "method_anomaly",
    /// The path was written so that a plain comparison misses it, or the request line so that a strict
    /// reader takes it for none: control characters, a blank before the method, a method that is no token.
    OBFUSCATED = "obfuscated",
    /// Not port 80.
    ODD_PORT = "odd_port",
    /// A retransmission had other bytes than the first transmission.
    OVERLAP_CONFLICT = "overlap_conflict",
    /// The request says that it came through a proxy.
    PROXIED = "proxied",
    /// The path climbs with `..`.
    TRAVERSAL = "traversal",
    /// A token request below a dated version, which IMDS answers with 403.
    WRONG_VERSION_PATH = "wrong_version_path",
}

impl Flags {
    /// No remark.
    pub const NONE: Self = Self(0);

    /// Whether all of `other` is in the set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    pub(crate) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Adds `other` if `condition` holds.
    pub(crate) const fn add_if(&mut self, condition: bool, other: Self) {
        if condition {
            self.0 |= other.0;
        }
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names, sorted.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let mut flags = Self::NONE;
        for name in names {
            let bit = Self::NAMES.iter().position(|known| *known == name);
            let bit = bit.ok_or_else(|| D::Error::custom(format!("unknown flag {name}")))?;
            flags.0 |= 1 << bit;
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_distinct() {
        assert!(Flags::NAMES.is_sorted_by(|a, b| a < b));
        assert!(Flags::NAMES.len() <= 32);
    }

    #[test]
    fn json_is_a_sorted_array() {
        let flags = Flags::PROXIED.with(Flags::BAD_HOST);
        let json = serde_json::to_string(&flags).unwrap();
        assert_eq!(json, r#"["bad_host","proxied"]"#);
        assert_eq!(serde_json::from_str::<Flags>(&json).unwrap(), flags);
        assert!(serde_json::from_str::<Flags>(r#"["nonsense"]"#).is_err());
    }
}
