//! The chain that audit events are links of: what one that was altered, taken out, put in or moved shows by.
//!
//! ```text
//!  unmapped.chain   epoch  the life of the collector that wrote it
//!                   seq    its number in that life, from 1 on
//!                   prev   hash of the link before it; of the very first: zeros
//!                   hash   SHA-256 of the event as canonical JSON (RFC 8785), without this member
//!                   signature  of checkpoints only: Ed25519 (RFC 8032) of what `signed` says, not part of the hash
//! ```
//!
//! Events are written in canonical form, with the members of `chain` in its order, so that whoever has the bytes need
//! not parse them to know their hash. Pure.

use std::ops::Range;

use aws_lc_rs::digest;
use memchr::memmem;
use serde_json::{Map, Value};
use thiserror::Error;

/// SHA-256.
pub type Hash = [u8; 32];
/// Ed25519's.
pub type Signature = [u8; 64];

/// `prev` of the first link of all.
pub const NOTHING: Hash = [0; 32];
/// No epoch has a longer name.
pub const MAX_EPOCH: usize = 64;

/// No number is higher: a double knows each digit of it.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// How a link begins, in canonical JSON.
const BEGIN: &[u8] = br#""chain":{"epoch":""#;
const HASH: &[u8] = br#","hash":""#;
const PREV: &[u8] = br#"","prev":""#;
const SEQ: &[u8] = br#"","seq":"#;
const SIGNATURE: &[u8] = br#","signature":""#;

/// A link as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The life of the collector.
    pub epoch: String,
    /// The number in it.
    pub seq: u64,
    /// The hash of the one before.
    pub prev: Hash,
    /// The hash that it says it has.
    pub hash: Hash,
    /// The hash that it has.
    pub digest: Hash,
    /// Of checkpoints.
    pub signature: Option<Signature>,
}

impl Link {
    /// Whether nothing of the event was altered without the hash.
    pub fn is_whole(&self) -> bool {
        self.hash == self.digest
    }
}

/// Bytes that are no link.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoLink {
    /// There is no such member.
    #[error("it has no unmapped.chain")]
    Absent,
    /// It is not as they are written.
    #[error("its unmapped.chain is not epoch, hash, prev and seq in canonical form")]
    Form,
}

/// Makes an event a link: its canonical bytes with `chain` in `unmapped`, and its hash.
pub fn seal(mut event: Map<String, Value>, epoch: &str, seq: u64, prev: &Hash) -> (String, Hash) {
    let mut chain = Map::new();
    chain.insert("epoch".to_owned(), epoch.into());
    chain.insert("prev".to_owned(), hex(prev).into());
    chain.insert("seq".to_owned(), seq.into());
    let unmapped = event.entry("unmapped").or_insert_with(|| Map::new().into());
    if let Some(unmapped) = unmapped.as_object_mut() {
        unmapped.insert("chain".to_owned(), chain.into());
    }
    let mut text = Value::Object(event).to_string();
    let hash = sha256(&[text.as_bytes()]);
    // Where the member belongs by its name: between `epoch` and `prev`.
    if let Some(at) = find(text.as_bytes()) {
        let at = at.end + epoch.len() + 1;
        text.insert_str(at, &format!(",\"hash\":\"{}\"", hex(&hash)));
    }
    (text, hash)
}

/// Puts the signature of a checkpoint into its bytes.
pub fn put_signature(text: &mut String, signature: &Signature) {
    if let Some(spans) = Spans::of(text.as_bytes()) {
        text.insert_str(
            spans.seq.end,
            &format!(",\"signature\":\"{}\"", hex(signature)),
        );
    }
}

/// What a checkpoint's signature is of: the link, and with it all links before it.
pub fn signed(epoch: &str, seq: u64, hash: &Hash) -> String {
    format!(
        "plimsoll audit checkpoint v1\n{epoch}\n{seq}\n{}\n",
        hex(hash)
    )
}

/// Reads the link of an event's canonical bytes, without parsing them.
///
/// # Errors
/// There is none, or it is not in canonical form.
pub fn link(text: &[u8]) -> Result<Link, NoLink> {
    let begin = find(text).ok_or(NoLink::Absent)?;
    let spans = Spans::behind(text, begin.end).ok_or(NoLink::Form)?;
    spans.read(text).ok_or(NoLink::Form)
}

/// The epoch of a link, without a look at the rest.
pub fn epoch_of(text: &[u8]) -> Option<String> {
    let spans = Spans::of(text)?;
    Some(str::from_utf8(text.get(spans.epoch)?).ok()?.to_owned())
}

/// The bytes up to the text of `epoch`. In canonical JSON these can only be a member's name and the beginning of its
/// value: within a text each quote has a backslash before it.
fn find(text: &[u8]) -> Option<Range<usize>> {
    memmem::find_iter(text, BEGIN).find_map(|at| {
        let before = text.get(at.checked_sub(1)?)?;
        matches!(before, b'{' | b',').then_some(at..at + BEGIN.len())
    })
}

/// Where the parts of a link lie.
struct Spans {
    epoch: Range<usize>,
    /// With its name and the comma before it: what is not hashed.
    hash_member: Range<usize>,
    hash: Range<usize>,
    prev: Range<usize>,
    seq: Range<usize>,
    signature_member: Option<Range<usize>>,
}

impl Spans {
    fn of(text: &[u8]) -> Option<Self> {
        Self::behind(text, find(text)?.end)
    }

    fn behind(text: &[u8], begin: usize) -> Option<Self> {
        let rest = text.get(begin..)?;
        let len = memchr::memchr(b'"', rest.get(..rest.len().min(MAX_EPOCH + 1))?)?;
        let epoch = begin..begin + len;
        let hash = literal(text, epoch.end + 1, HASH)?;
        let hash = hash..hash + 64;
        let prev = literal(text, hash.end, PREV)?;
        let prev = prev..prev + 64;
        let seq = literal(text, prev.end, SEQ)?;
        let digits = text
            .get(seq..)?
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let seq = seq..seq + digits.count();
        let signature = literal(text, seq.end, SIGNATURE);
        let signature_member = signature.map(|from| seq.end..from + 128 + 1);
        let end = signature_member
            .as_ref()
            .map_or(seq.end, |member| member.end);
        let whole = text.get(end) == Some(&b'}');
        whole.then_some(Self {
            hash_member: epoch.end + 1..hash.end + 1,
            epoch,
            hash,
            prev,
            seq,
            signature_member,
        })
    }

    fn read(&self, text: &[u8]) -> Option<Link> {
        let of = |range: &Range<usize>| str::from_utf8(text.get(range.clone())?).ok();
        let seq = of(&self.seq)?;
        // One way to write a number only: it is hashed as it stands.
        let seq: u64 = seq
            .parse()
            .ok()
            .filter(|read: &u64| (1..=MAX_SEQ).contains(read) && read.to_string() == seq)?;
        let epoch = of(&self.epoch)?;
        let signature = match &self.signature_member {
            Some(member) => {
                let begin = member.start + SIGNATURE.len();
                Some(from_hex::<64>(of(&(begin..member.end - 1))?)?)
            }
            None => None,
        };
        let tail = self
            .signature_member
            .clone()
            .unwrap_or(self.seq.end..self.seq.end);
        let digest = sha256(&[
            text.get(..self.hash_member.start)?,
            text.get(self.hash_member.end..tail.start)?,
            text.get(tail.end..)?,
        ]);
        Some(Link {
            epoch: epoch.to_owned(),
            seq,
            prev: from_hex(of(&self.prev)?)?,
            hash: from_hex(of(&self.hash)?)?,
            digest,
            signature,
        })
    }
}

/// Where a literal that begins at `at` ends.
fn literal(text: &[u8], at: usize, literal: &[u8]) -> Option<usize> {
    text.get(at..)?
        .starts_with(literal)
        .then_some(at + literal.len())
}

/// SHA-256 of these bytes, one after the other.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = NOTHING;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16);
    let pairs = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    pairs.flatten().collect()
}

/// That many bytes in lower case; `None` for anything else, so that there is one way to write them.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const EPOCH: &str = "20261201T073000Z-00ff00ff00ff00ff";

    fn event(message: &str) -> Map<String, Value> {
        let event = json!({
            "class_uid": 6002,
            "message": message,
            "unmapped": {"a": message, "chained": {"epoch": message}},
            "zone": message,
        });
        event.as_object().unwrap().clone()
    }

    #[test]
    fn a_link_is_read_back_and_its_hash_is_of_the_rest() {
        let prev = sha256(&[b"before"]);
        let (text, hash) = seal(event("x"), EPOCH, 7, &prev);
        let read = link(text.as_bytes()).unwrap();
        assert_eq!((read.epoch.as_str(), read.seq), (EPOCH, 7));
        assert_eq!((read.prev, read.hash, read.digest), (prev, hash, hash));
        assert_eq!(read.signature, None);
        // By the rule and not by this code: parsed, the member taken out, canonical again.
        let mut parsed: Value = serde_json::from_str(&text).unwrap();
        let chain = parsed["unmapped"]["chain"].as_object_mut().unwrap();
        assert_eq!(chain.remove("hash"), Some(hex(&hash).into()));
        assert_eq!(sha256(&[parsed.to_string().as_bytes()]), hash);
    }

    #[test]
    fn a_signature_is_no_part_of_the_hash() {
        let (mut text, hash) = seal(event("x"), EPOCH, 7, &NOTHING);
        let signature = [0xab; 64];
        put_signature(&mut text, &signature);
        let read = link(text.as_bytes()).unwrap();
        assert_eq!((read.signature, read.digest), (Some(signature), hash));
        let canonical: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(canonical.to_string(), text);
    }

    #[test]
    fn what_is_no_link_says_so() {
        assert_eq!(link(b"{}"), Err(NoLink::Absent));
        assert_eq!(link(b"not JSON"), Err(NoLink::Absent));
        let (text, _) = seal(event("x"), EPOCH, 7, &NOTHING);
        for (from, to) in [
            ("\"seq\":7", "\"seq\":07"),
            ("\"seq\":7", "\"seq\":7.0"),
            ("\"prev\"", "\"perv\""),
            ("\"hash\":\"", "\"hash\": \""),
            ("\"seq\":7", "\"seq\":7,\"signature\":\"ab\""),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert_eq!(link(changed.as_bytes()), Err(NoLink::Form), "{from}");
        }
        assert_eq!(from_hex::<2>("00FF"), None);
        assert_eq!(from_hex::<2>("00ff"), Some([0, 255]));
    }

    proptest! {
        /// Whatever texts an event has, the link that is found is the one that was put in.
        #[test]
        fn no_text_of_an_event_is_taken_for_its_link(
            parts in prop::collection::vec(prop_oneof![
                Just(r#""chain":{"epoch":""#.to_owned()),
                Just(r#","chain":{"epoch":"x","hash":""#.to_owned()),
                Just("\\".to_owned()),
                Just("{".to_owned()),
                any::<String>(),
            ], 0..6),
            seq in 1_u64..1 << 53,
        ) {
            let (text, hash) = seal(event(&parts.concat()), EPOCH, seq, &NOTHING);
            let read = link(text.as_bytes()).unwrap();
            prop_assert_eq!((read.seq, read.digest), (seq, hash));
            prop_assert_eq!(read.epoch, EPOCH);
        }

        #[test]
        fn a_changed_byte_is_seen(at in 0_usize..2000, flip in 1_u8..=255) {
            let (text, _) = seal(event("some text"), EPOCH, 3, &NOTHING);
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(link(&bytes).is_err() || !link(&bytes).unwrap().is_whole());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(link(&bytes).is_err());
            let mut begun = br#"{"chain":{"epoch":""#.to_vec();
            begun.extend(bytes);
            prop_assert!(link(&begun).is_err());
        }
    }
}
