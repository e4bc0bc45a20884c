//! The keys that checkpoints are signed with: each only for a while, and erased when the next one is on record, so that
//! nobody who comes by a key can sign what was said before it.
//!
//! ```text
//!  next made, written beside the current ─► a checkpoint says it, signed by the current ─► current erased
//! ```
//!
//! Whoever is killed in between finds both, and goes by what the trail says. Both slots of the file are overwritten;
//! what a flash disk keeps of overwritten blocks, and snapshots of the volume, is beyond this (docs/security.md).

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use plimsoll_journal::Storage;
use prost::Message;
use zeroize::{Zeroize as _, Zeroizing};

use super::chain::Signature;
use crate::ingest::checkpoint::Slots;

/// Ed25519's (RFC 8032).
pub type PublicKey = [u8; 32];

const SEED: usize = 32;

/// As it is written.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    /// The seed of the current key.
    #[prost(bytes = "vec", tag = "1")]
    current: Vec<u8>,
    /// The seed of the next one, while no checkpoint says it.
    #[prost(bytes = "vec", tag = "2")]
    next: Vec<u8>,
}

/// A key could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// They are there, and cannot be read: a new one would break the chain without need.
    #[error(
        "read the signing keys in journal/keys (without the folder a new key is made, which breaks the chain)"
    )]
    Unreadable(#[source] std::io::Error),
    /// The kernel gave no randomness.
    #[error("no randomness for a signing key")]
    Random,
    /// The disk.
    #[error("write the signing key")]
    Disk(#[from] std::io::Error),
}

/// A private key.
struct Key {
    seed: Zeroizing<Vec<u8>>,
    pair: Ed25519KeyPair,
}

impl Key {
    fn of(seed: Vec<u8>) -> Option<Self> {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self { seed, pair })
    }

    fn random() -> Result<Self, KeyError> {
        let mut seed = vec![0; SEED];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| KeyError::Random)?;
        Self::of(seed).ok_or(KeyError::Random)
    }

    fn public(&self) -> PublicKey {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        public
    }
}

/// See the module.
pub(super) struct Keys<S> {
    slots: Slots<S>,
    current: Option<Key>,
    next: Option<Key>,
}

impl<S> std::fmt::Debug for Keys<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl<S: Storage> Keys<S> {
    /// What is in the folder. `announced` is the key that the trail's last checkpoint says comes next.
    pub(super) fn open(storage: S, announced: Option<PublicKey>) -> Result<Self, KeyError> {
        readable(&storage).map_err(KeyError::Unreadable)?;
        let (slots, body) = Slots::open(storage, 0);
        let body = Zeroizing::new(body.unwrap_or_default());
        let stored = Stored::decode(body.as_slice()).ok();
        let stored = stored.unwrap_or_default();
        let (mut current, next) = (Key::of(stored.current), Key::of(stored.next));
        let is_announced = |key: &Key| Some(key.public()) == announced;
        if next.as_ref().is_some_and(is_announced) {
            current = next;
        }
        if announced.is_some() && !current.as_ref().is_some_and(is_announced) {
            tracing::error!(
                "the key that signs the audit trail is not there any more: a new one is made, and whoever verifies the \
                 chain sees that nothing says it"
            );
        }
        Ok(Self {
            slots,
            current,
            next: None,
        })
    }

    /// The key that signs now, if there is one.
    pub(super) fn current(&self) -> Option<PublicKey> {
        self.current.as_ref().map(Key::public)
    }

    /// Makes the next key, and writes it down beside the current one. It signs from [`turn`](Self::turn) on.
    pub(super) fn prepare(&mut self) -> Result<PublicKey, KeyError> {
        let next = match self.next.take() {
            Some(next) => next,
            None => Key::random()?,
        };
        let public = next.public();
        let stored = Stored {
            current: seed_of(self.current.as_ref()),
            next: seed_of(Some(&next)),
        };
        self.next = Some(next);
        self.write(stored)?;
        Ok(public)
    }

    /// The next key is on record: it is the current one, and the one before is erased.
    pub(super) fn turn(&mut self) -> Result<(), KeyError> {
        if let Some(next) = self.next.take() {
            self.current = Some(next);
        }
        let stored = Stored {
            current: seed_of(self.current.as_ref()),
            next: Vec::new(),
        };
        self.write(stored)
    }

    /// Into both slots: none is to keep an older key.
    fn write(&mut self, mut stored: Stored) -> Result<(), KeyError> {
        let body = Zeroizing::new(stored.encode_to_vec());
        stored.current.zeroize();
        stored.next.zeroize();
        self.slots.write(&body)?;
        Ok(self.slots.write(&body)?)
    }

    /// Signs with the current key; or, while there is none yet, with the next.
    pub(super) fn sign(&self, message: &str) -> Option<Signature> {
        let key = self.current.as_ref().or(self.next.as_ref())?;
        let mut signature = [0; 64];
        signature.copy_from_slice(key.pair.sign(message.as_bytes()).as_ref());
        Some(signature)
    }
}

fn seed_of(key: Option<&Key>) -> Vec<u8> {
    key.map(|key| key.seed.to_vec()).unwrap_or_default()
}

/// What cannot be read would be taken for missing.
fn readable<S: Storage>(storage: &S) -> std::io::Result<()> {
    for name in storage.list()? {
        storage.read_at(&name, 0, &mut [0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use plimsoll_journal::Files as _;
    use plimsoll_journal::testing::CrashStorage;

    use super::*;

    fn is_by(key: &PublicKey, signature: Option<Signature>) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, key);
        signature.is_some_and(|signature| key.verify(b"text", &signature).is_ok())
    }

    #[test]
    fn a_key_signs_until_the_next_one_is_on_record_and_is_erased_then() {
        let disk = CrashStorage::default();
        let folder = disk.folder("keys");
        let mut keys = Keys::open(folder.clone(), None).unwrap();
        assert_eq!(keys.current(), None);
        let first = keys.prepare().unwrap();
        assert!(
            is_by(&first, keys.sign("text")),
            "nobody else can say the first"
        );
        keys.turn().unwrap();
        let seed = keys.current.as_ref().unwrap().seed.clone();
        let second = keys.prepare().unwrap();
        assert!(is_by(&first, keys.sign("text")));
        // Killed here: the trail's word decides.
        let found = |announced| Keys::open(folder.clone(), announced).unwrap().current();
        assert_eq!(found(None), Some(first));
        assert_eq!(found(Some(first)), Some(first));
        assert_eq!(found(Some(second)), Some(second));
        keys.turn().unwrap();
        assert!(is_by(&second, keys.sign("text")));
        assert_eq!(found(None), Some(second));
        for name in folder.list().unwrap() {
            let mut bytes = vec![0; usize::try_from(folder.len(&name).unwrap()).unwrap()];
            folder.read_at(&name, 0, &mut bytes).unwrap();
            let kept = bytes.windows(SEED).any(|window| window == seed.as_slice());
            assert!(!kept, "{name} holds the key that was erased");
        }
    }

    #[test]
    fn keys_that_cannot_be_read_are_not_replaced() {
        let disk = CrashStorage::default();
        let folder = disk.folder("keys");
        let mut keys = Keys::open(folder.clone(), None).unwrap();
        keys.prepare().unwrap();
        keys.turn().unwrap();
        disk.fail_reads("keys/slot-0");
        let refused = Keys::open(folder, keys.current()).map(drop);
        assert!(matches!(refused, Err(KeyError::Unreadable(_))));
    }
}
