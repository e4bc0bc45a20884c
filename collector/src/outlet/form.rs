//! An event in the form that a sink gives it. Pure.

use serde_json::Value;

use crate::api::AuditRecord;
use crate::config::sinks::{EventClass, Format, Route};
use crate::ocsf::Schema;
use crate::ocsf::event::severity;
use crate::ocsf::project::project;
use crate::trail::entry::Entry;
use crate::{cef, ecs};

/// Of the collector, as events say it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A record of the trail, read as far as routes and forms need it.
#[derive(Debug)]
pub struct Event<'a> {
    entry: &'a Entry,
    /// `None` for what the trail says of itself, and for what an older version wrote otherwise.
    record: Option<AuditRecord>,
}

impl<'a> Event<'a> {
    /// That of an entry.
    pub fn of(entry: &'a Entry) -> Self {
        let document = serde_json::from_str::<Value>(&entry.document).ok();
        let record = document.and_then(|document| AuditRecord::from_document(&document).ok());
        Self { entry, record }
    }

    /// Whether a route lets it through. What the trail says of itself goes everywhere: without it nobody can tell
    /// whether something is missing.
    pub fn is_for(&self, route: &Route) -> bool {
        self.record.as_ref().is_none_or(|record| {
            let class = EventClass::from(&record.event);
            route.matches(class, severity(&record.event), record.name("namespace"))
        })
    }

    /// One line of text, without its end. `None` where the form has none of it: checkpoints are of OCSF alone.
    pub fn text(&self, format: Format) -> Option<String> {
        match (format, &self.record) {
            (Format::Ocsf18, _) => Some(self.entry.body.clone()),
            (Format::Ocsf13, _) => {
                let event: Value = serde_json::from_str(&self.entry.body).ok()?;
                let projected = project(&event, Schema::v1_8(), Schema::v1_3())?;
                Some(projected.to_string())
            }
            (Format::Ecs, Some(record)) => Some(ecs::document(record, VERSION).to_string()),
            (Format::Cef, Some(record)) => Some(cef::line(record, VERSION)),
            (Format::Ecs | Format::Cef, None) => None,
        }
    }

    /// The epoch of its link.
    pub fn epoch(&self) -> String {
        self.entry.link().map(|link| link.epoch).unwrap_or_default()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> String {
        match (&self.record, self.entry.link()) {
            (Some(record), _) => record.id.to_string(),
            (None, Ok(link)) => format!("trail/{}/{}", link.epoch, link.seq),
            (None, Err(_)) => String::new(),
        }
    }
}
