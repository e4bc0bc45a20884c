//! What tests let happen in the cluster: objects that were there before, that come, change and go,
//! and versions that are forgotten.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::object::{Object, Recipe};
use super::{ApiServer, Pulse, State};

impl ApiServer {
    /// Puts a whole list in, as if it had been there before the server was started: with the
    /// versions its objects have, and no older version to go back to. Before clients come.
    ///
    /// # Errors
    /// It is no list of a kind that is served.
    pub fn load(&self, list: &Value) -> Result<()> {
        let kind = list["kind"].as_str().context("a list without kind")?;
        let kind = kind.strip_suffix("List").context("no list")?;
        let api_version = list["apiVersion"].as_str().context("no apiVersion")?;
        let version = list["metadata"]["resourceVersion"].as_str();
        let version = version.and_then(|v| v.parse().ok()).unwrap_or(1);
        let mut state = self.state();
        let index = state.catalog.find_kind(api_version, kind);
        let index = index.with_context(|| format!("{api_version} {kind} is not served"))?;
        let items = list["items"].as_array().cloned().context("no items")?;
        let objects: Result<_> = items.into_iter().map(Object::parse).collect();
        state.store.load(index, objects?, version);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Puts everything in that was recorded: [`super::recorded::LISTS`].
    ///
    /// # Errors
    /// A recorded list is not there.
    pub fn load_recorded(&self) -> Result<()> {
        let mut lists = super::recorded::LISTS.iter();
        lists.try_for_each(|name| self.load(&super::recorded::list(name)?))
    }

    /// Puts generated objects of a kind in, like [`ApiServer::load`]; each has namespace and name.
    ///
    /// # Errors
    /// The kind is not served.
    pub fn load_made<I>(&self, group: &str, plural: &str, objects: I) -> Result<()>
    where
        I: IntoIterator<Item = ((String, String), Arc<dyn Recipe>)>,
    {
        let mut state = self.state();
        let index = state.index(group, plural)?;
        let version = state.store.version();
        let made: Vec<_> = objects
            .into_iter()
            .zip(version.saturating_add(1)..)
            .map(|((name, recipe), version)| Object::made(name, version, recipe))
            .collect();
        state.store.load(index, made, version);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Creates or replaces an object, with kind and apiVersion; its version is told. A uid and a
    /// creationTimestamp are added if they are missing.
    ///
    /// # Errors
    /// It is no object of a kind that is served.
    pub fn apply(&self, object: Value) -> Result<u64> {
        let versions = self.apply_all([object])?;
        versions.last().copied().context("no version")
    }

    /// Creates or replaces objects so that watches tell all of them in one breath.
    ///
    /// # Errors
    /// As for [`ApiServer::apply`].
    pub fn apply_all(&self, objects: impl IntoIterator<Item = Value>) -> Result<Vec<u64>> {
        let mut state = self.state();
        let mut versions = Vec::new();
        for mut object in objects {
            let kind = object["kind"].as_str().context("an object without kind")?;
            let api_version = object["apiVersion"].as_str().context("no apiVersion")?;
            let index = state.catalog.find_kind(api_version, kind);
            let index = index.with_context(|| format!("{api_version} {kind} is not served"))?;
            let next = state.store.version().saturating_add(1);
            let metadata = object["metadata"].as_object_mut().context("no metadata")?;
            let uid = || format!("00000000-0000-4000-8000-{next:012x}").into();
            metadata.entry("uid").or_insert_with(uid);
            let created = || "2026-11-22T07:11:25Z".into();
            metadata.entry("creationTimestamp").or_insert_with(created);
            versions.push(state.store.apply(index, Object::parse(object)?));
        }
        drop(state);
        self.wake();
        Ok(versions)
    }

    /// Creates or replaces a generated object.
    ///
    /// # Errors
    /// The kind is not served.
    pub fn apply_made(
        &self,
        (group, plural): (&str, &str),
        name: (String, String),
        recipe: Arc<dyn Recipe>,
    ) -> Result<u64> {
        let mut state = self.state();
        let index = state.index(group, plural)?;
        let version = state.store.apply(index, Object::made(name, 0, recipe));
        drop(state);
        self.wake();
        Ok(version)
    }

    /// Deletes an object; `namespace` is empty for kinds that have none.
    ///
    /// # Errors
    /// There is no such object.
    pub fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<u64> {
        let mut state = self.state();
        let index = state.index(group, plural)?;
        let key = (namespace.to_owned(), name.to_owned());
        let version = state.store.delete(index, &key);
        drop(state);
        self.wake();
        version.with_context(|| format!("no {plural} {namespace}/{name}"))
    }

    /// Older versions than the present are gone for lists, pages and watches that begin.
    pub fn compact(&self) {
        self.state().store.compact();
    }

    /// Lets versions go by, as changes of kinds that nobody watches do.
    pub fn advance(&self, versions: u64) {
        self.state().store.advance(versions);
        self.wake();
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.state().store.version()
    }

    /// A port of a pod leads to an address on loopback.
    pub fn forward(&self, namespace: &str, pod: &str, port: u16, to: std::net::SocketAddr) {
        let pod = (namespace.to_owned(), pod.to_owned());
        self.state().forwards.insert(pod, (port, to));
    }

    /// Ends every watch, as the server does when it is restarted.
    pub fn end_watches(&self) {
        let count = |pulse: &mut Pulse| pulse.ends = pulse.ends.wrapping_add(1);
        self.shared.pulse.send_modify(count);
    }

    /// Sends a bookmark to every watch that wants them.
    pub fn bookmark(&self) {
        let count = |pulse: &mut Pulse| pulse.bookmarks = pulse.bookmarks.wrapping_add(1);
        self.shared.pulse.send_modify(count);
    }
}

impl State {
    fn index(&self, group: &str, plural: &str) -> Result<usize> {
        let index = self.catalog.find(group, plural);
        index.with_context(|| format!("{plural} of {group:?} is not served"))
    }
}
