//! How the generated types are written: members in the order of their names, absent ones left out.

use serde::Serialize;
use serde::ser::SerializeMap;

pub(super) struct Fields<M>(pub(super) M);

impl<M: SerializeMap> Fields<M> {
    pub(super) fn put(
        &mut self,
        name: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    pub(super) fn some(
        &mut self,
        name: &str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }

    /// An empty list is an absent one.
    pub(super) fn list(&mut self, name: &str, values: &[impl Serialize]) -> Result<(), M::Error> {
        self.some(name, Some(values).filter(|values| !values.is_empty()))
    }

    pub(super) fn end(self) -> Result<M::Ok, M::Error> {
        self.0.end()
    }
}
