//! The objects of the cluster and what happened to them: one counter of versions, a log with a
//! compaction point, and the state of a kind at any version that the log still reaches.
//!
//! Knows nothing of HTTP, users or faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::object::Object;

/// Changes the log holds; older ones are compacted away, as etcd does every few minutes.
const LOG_AT_MOST: usize = 100_000;

/// Namespace (empty for what lives in none) and name: etcd's order of keys is the order of lists.
pub(super) type Name = (String, String);
/// The objects of one kind.
pub(super) type Objects = BTreeMap<Name, Arc<Object>>;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    /// Index into the catalog.
    resource: usize,
    pub(super) kind: Kind,
    /// As it is now; of a deleted object, as it was, with the version of the deletion.
    pub(super) object: Arc<Object>,
    pub(super) previous: Option<Arc<Object>>,
}

/// Why the state at a version cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// Compacted.
    TooOld,
    /// Not reached yet.
    Future,
}

#[derive(Debug, Default)]
struct Table {
    objects: Arc<Objects>,
    /// The state at an older version: what the pages of one list share.
    earlier: Option<(u64, Arc<Objects>)>,
}

#[derive(Debug)]
pub(super) struct Store {
    version: u64,
    /// From which version on lists and watches may begin.
    compacted: u64,
    /// From which version on the log is whole: what watches that run already go by.
    log_from: u64,
    tables: BTreeMap<usize, Table>,
    log: VecDeque<Change>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            version: 1,
            compacted: 1,
            log_from: 1,
            tables: BTreeMap::new(),
            log: VecDeque::new(),
        }
    }
}

impl Store {
    /// The newest version.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version from which a watch can go on.
    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets how the present came about; watches that run already miss nothing, as those of the
    /// real watch cache.
    pub(super) fn compact(&mut self) {
        self.compacted = self.version;
        for table in self.tables.values_mut() {
            table.earlier = None;
        }
    }

    /// Lets versions go by, as changes of kinds that nobody watches do.
    pub(super) fn advance(&mut self, versions: u64) {
        self.version = self.version.saturating_add(versions);
    }

    /// Objects that were there before: no changes, and `version` is the oldest that can be watched.
    pub(super) fn load(&mut self, resource: usize, objects: Vec<Object>, version: u64) {
        let newest = objects.iter().map(Object::version).max().unwrap_or(0);
        self.version = self.version.max(version).max(newest);
        let table = self.tables.entry(resource).or_default();
        let held = Arc::make_mut(&mut table.objects);
        held.extend(objects.into_iter().map(|o| (o.name(), Arc::new(o))));
        self.log.clear();
        self.log_from = self.version;
        self.compact();
    }

    pub(super) fn get(&self, resource: usize, name: &Name) -> Option<Arc<Object>> {
        let table = self.tables.get(&resource)?;
        table.objects.get(name).cloned()
    }

    /// Creates or replaces an object; its version is told.
    pub(super) fn apply(&mut self, resource: usize, mut object: Object) -> u64 {
        self.version = self.version.saturating_add(1);
        object.set_version(self.version);
        let object = Arc::new(object);
        let table = self.tables.entry(resource).or_default();
        let objects = Arc::make_mut(&mut table.objects);
        let previous = objects.insert(object.name(), Arc::clone(&object));
        self.push(Change {
            version: self.version,
            resource,
            kind: if previous.is_some() {
                Kind::Modified
            } else {
                Kind::Added
            },
            object,
            previous,
        });
        self.version
    }

    /// The version of the deletion; `None`: there is no such object.
    pub(super) fn delete(&mut self, resource: usize, name: &Name) -> Option<u64> {
        let table = self.tables.get_mut(&resource)?;
        let previous = Arc::make_mut(&mut table.objects).remove(name)?;
        self.version = self.version.saturating_add(1);
        let mut object = Object::clone(&previous);
        object.set_version(self.version);
        self.push(Change {
            version: self.version,
            resource,
            kind: Kind::Deleted,
            object: Arc::new(object),
            previous: Some(previous),
        });
        Some(self.version)
    }

    fn push(&mut self, change: Change) {
        self.log.push_back(change);
        if self.log.len() > LOG_AT_MOST
            && let Some(oldest) = self.log.pop_front()
        {
            self.log_from = oldest.version;
            self.compacted = self.compacted.max(oldest.version);
        }
    }

    /// Everything of a kind now.
    pub(super) fn now(&self, resource: usize) -> Arc<Objects> {
        let table = self.tables.get(&resource);
        table.map(|t| Arc::clone(&t.objects)).unwrap_or_default()
    }

    /// Everything of a kind as it was at `version`.
    pub(super) fn at(
        &mut self,
        resource: usize,
        version: u64,
    ) -> Result<Arc<Objects>, Unreachable> {
        if version > self.version {
            return Err(Unreachable::Future);
        }
        if version < self.compacted {
            return Err(Unreachable::TooOld);
        }
        let since = |change: &&Change| change.version > version;
        let later: Vec<_> = self.log.iter().rev().take_while(since).collect();
        let mut later = later.into_iter().filter(|c| c.resource == resource);
        let Some(last) = later.next() else {
            return Ok(self.now(resource));
        };
        let Some(table) = self.tables.get_mut(&resource) else {
            return Ok(Arc::default());
        };
        if let Some((of, objects)) = &table.earlier
            && *of == version
        {
            return Ok(Arc::clone(objects));
        }
        let mut objects = Objects::clone(&table.objects);
        for change in std::iter::once(last).chain(later) {
            match &change.previous {
                Some(previous) => objects.insert(previous.name(), Arc::clone(previous)),
                None => objects.remove(&change.object.name()),
            };
        }
        let objects = Arc::new(objects);
        table.earlier = Some((version, Arc::clone(&objects)));
        Ok(objects)
    }

    /// What happened to a kind after `version`, for a watch that has come as far as that; nothing
    /// if that is in the future.
    pub(super) fn since(&self, resource: usize, version: u64) -> Result<Vec<Change>, Unreachable> {
        if version < self.log_from {
            return Err(Unreachable::TooOld);
        }
        let from = self.log.partition_point(|c| c.version <= version);
        let later = self.log.iter().skip(from);
        Ok(later.filter(|c| c.resource == resource).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> Object {
        Object::parse(serde_json::json!({"metadata": {"name": name, "namespace": "n"}})).unwrap()
    }

    fn names(objects: &Objects) -> Vec<(&str, u64)> {
        let named = objects.iter().map(|((_, n), o)| (n.as_str(), o.version()));
        named.collect()
    }

    #[test]
    fn a_kind_is_told_as_it_was_until_it_is_compacted() {
        let mut store = Store::default();
        store.load(0, vec![], 10);
        store.apply(0, object("a"));
        store.apply(0, object("b"));
        store.apply(1, object("other"));
        store.apply(0, object("a"));
        store.delete(0, &("n".into(), "b".into()));
        assert_eq!(names(&store.at(0, 10).unwrap()), []);
        assert_eq!(names(&store.at(0, 12).unwrap()), [("a", 11), ("b", 12)]);
        assert_eq!(names(&store.at(0, 12).unwrap()), [("a", 11), ("b", 12)]);
        assert_eq!(names(&store.at(0, 14).unwrap()), [("a", 14), ("b", 12)]);
        assert_eq!(names(&store.at(0, 15).unwrap()), [("a", 14)]);
        assert_eq!(store.at(0, 16).unwrap_err(), Unreachable::Future);
        assert_eq!(store.at(0, 9).unwrap_err(), Unreachable::TooOld);
        store.compact();
        assert_eq!(store.at(0, 14).unwrap_err(), Unreachable::TooOld);
        assert_eq!(store.since(0, 14).unwrap().len(), 1);
        store.load(0, vec![], 20);
        assert_eq!(store.since(0, 14).unwrap_err(), Unreachable::TooOld);
    }

    #[test]
    fn a_deletion_has_its_own_version() {
        let mut store = Store::default();
        store.apply(0, object("a"));
        let version = store.delete(0, &("n".into(), "a".into())).unwrap();
        let changes = store.since(0, 1).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|c| (c.kind, c.object.version()))
            .collect();
        assert_eq!(told, [(Kind::Added, 2), (Kind::Deleted, version)]);
        assert_eq!(store.delete(0, &("n".into(), "a".into())), None);
    }
}
