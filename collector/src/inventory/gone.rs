//! Pods and owners that the inventory no longer lists, kept for a grace time: an event of a pod that
//! was deleted comes later than the deletion, and is to have its name. Kept is what names something
//! ([`Said`]), not the object. Pure.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::index::Index;
use super::index::said::Said;
use super::parse::Object;

/// Objects kept at the most; the oldest fall out.
pub const MAX_GONE: usize = 20_000;
/// Bytes that they may take, about; the oldest fall out. A pod takes one or two thousand.
pub const MAX_GONE_BYTES: usize = 32 << 20;

/// What names an object: its kind and its UID, or its namespace and name where it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(&'static str, String);

impl Key {
    /// `None` for what names no pod: namespaces and nodes are as they are now.
    fn of(object: &Object) -> Option<Self> {
        if matches!(object, Object::Namespace(_) | Object::Node(_)) {
            return None;
        }
        let (kind, meta) = object.head();
        let named = |meta: &ObjectMeta| {
            let namespace = meta.namespace.as_deref().unwrap_or("default");
            format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default())
        };
        let uid = meta.uid.clone().filter(|uid| !uid.is_empty());
        Some(Self(kind, uid.unwrap_or_else(|| named(meta))))
    }
}

/// See the module. Times are on any clock that only goes forward.
#[derive(Debug, Default)]
pub struct Gone {
    keep: Duration,
    /// The longest gone first.
    kept: VecDeque<Kept>,
    /// Of all that are kept.
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Kept {
    since: Duration,
    key: Key,
    said: Said,
    bytes: usize,
}

impl Gone {
    /// Keeps objects for so long; zero keeps none.
    pub fn new(keep: Duration) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    /// Objects `were` listed until now, and some of them still are among the `live`.
    pub fn note<'a>(
        &mut self,
        were: &[Object],
        live: impl Iterator<Item = &'a Object>,
        now: Duration,
    ) {
        if self.keep.is_zero() {
            return;
        }
        let mut listed: HashSet<Key> = live.filter_map(Key::of).collect();
        let bytes = &mut self.bytes;
        self.kept.retain(|kept| {
            let stays = !listed.contains(&kept.key);
            *bytes -= if stays { 0 } else { kept.bytes };
            stays
        });
        listed.extend(self.kept.iter().map(|kept| kept.key.clone()));
        for object in were {
            if let Some(key) = Key::of(object)
                && listed.insert(key.clone())
                && let Some(said) = Said::of(object)
            {
                let bytes = said.bytes() + size_of::<Kept>() + key.1.len();
                self.bytes += bytes;
                self.kept.push_back(Kept {
                    since: now,
                    key,
                    said,
                    bytes,
                });
            }
        }
        while self.kept.len() > MAX_GONE || self.bytes > MAX_GONE_BYTES {
            self.forget_oldest();
            self.dropped += 1;
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.bytes -= kept.bytes;
        }
    }

    /// Forgets whose time is up; whether there was any.
    pub fn expire(&mut self, now: Duration) -> bool {
        let before = self.kept.len();
        while let Some(kept) = self.kept.front()
            && now.saturating_sub(kept.since) >= self.keep
        {
            self.forget_oldest();
        }
        self.kept.len() < before
    }

    /// Puts them in, before what is live: that replaces what has the same name.
    pub fn apply_to(&self, index: &mut Index) {
        for kept in &self.kept {
            index.take(kept.said.clone());
        }
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How many fell out before their time, since the start.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(uid: usize) -> Object {
        let mut pod = Pod::default();
        pod.metadata.name = Some(format!("p-{uid}"));
        pod.metadata.uid = Some(uid.to_string());
        Object::Pod(Box::new(pod))
    }

    #[test]
    fn what_is_gone_is_kept_for_its_time_and_what_comes_back_is_not_gone() {
        let at = Duration::from_secs;
        let mut gone = Gone::new(at(10));
        gone.note(&[pod(1), pod(2)], [pod(2)].iter(), at(5));
        assert_eq!(gone.kept(), 1);
        // Listed in one file, taken out of another: it was there all the time.
        gone.note(&[pod(2)], [pod(2), pod(1)].iter(), at(6));
        assert_eq!(gone.kept(), 0);
        gone.note(&[pod(1), pod(1)], [].iter(), at(7));
        gone.note(&[pod(1), pod(2)], [].iter(), at(9));
        assert_eq!(gone.kept(), 2);
        assert!(!gone.expire(at(16)));
        assert!(gone.expire(at(17)));
        let mut index = Index::default();
        gone.apply_to(&mut index);
        assert!(index.lookup("1", None).is_none());
        assert!(index.lookup("2", None).is_some());
        assert!(gone.expire(at(19)));
        assert_eq!((gone.kept(), gone.dropped()), (0, 0));
    }

    #[test]
    fn no_more_are_kept_than_the_bound_and_the_longest_gone_go_first() {
        let mut gone = Gone::new(Duration::from_secs(10));
        gone.note(
            &(0..MAX_GONE + 3).map(pod).collect::<Vec<_>>(),
            [].iter(),
            Duration::ZERO,
        );
        assert_eq!((gone.kept(), gone.dropped()), (MAX_GONE, 3));
        let mut index = Index::default();
        gone.apply_to(&mut index);
        assert!(index.lookup("2", None).is_none());
        assert!(index.lookup("3", None).is_some());
        let mut none = Gone::new(Duration::ZERO);
        none.note(&[pod(1)], [].iter(), Duration::ZERO);
        assert_eq!(none.kept(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_is_not_the_object() {
        let large = |uid: usize, labels: usize, annotation: usize| {
            let Object::Pod(mut pod) = pod(uid) else {
                unreachable!()
            };
            let map = |bytes| [("k".to_owned(), "x".repeat(bytes))].into();
            pod.metadata.labels = Some(map(labels));
            pod.metadata.annotations = Some(map(annotation));
            Object::Pod(pod)
        };
        let mut gone = Gone::new(Duration::from_secs(10));
        let note = |gone: &mut Gone, objects: Vec<Object>| {
            gone.note(&objects, [].iter(), Duration::ZERO);
            let sum: usize = gone.kept.iter().map(|kept| kept.bytes).sum();
            assert_eq!(gone.bytes, sum);
            (gone.kept(), gone.dropped())
        };
        let manifests = (0..100).map(|uid| large(uid, 10, 1 << 20)).collect();
        assert_eq!(note(&mut gone, manifests), (100, 0));
        assert!(gone.bytes < 100_000, "{} bytes", gone.bytes);
        let labels = (100..140).map(|uid| large(uid, 1 << 20, 0)).collect();
        assert_eq!(note(&mut gone, labels), (31, 109));
        assert!(gone.bytes <= MAX_GONE_BYTES);
        assert_eq!(note(&mut gone, vec![large(140, 64 << 20, 0)]), (0, 141));
        assert!(gone.expire(Duration::from_secs(10)) || gone.bytes == 0);
    }
}
