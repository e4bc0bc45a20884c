//! An event in the form that a sink gives it. Pure.

use serde_json::Value;

use crate::api::AuditRecord;
use crate::config::sinks::{EventClass, Format, Route};
use crate::ocsf::Schema;
use crate::ocsf::event::severity;
use crate::ocsf::project::project;
use crate::trail::chain::epoch_of;
use crate::trail::entry::Entry;
use crate::{cef, ecs};

/// Of the collector, as events say it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an event is in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A line, without its end.
    Of(String),
    /// The form has none of what the trail says of itself: that is of OCSF alone.
    NoneByRule,
    /// It should be there, and cannot be said.
    Unsayable,
}

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

    /// It in that form.
    pub fn text(&self, format: Format) -> Text {
        let text = match (format, &self.record) {
            (Format::Ocsf18, _) => Some(self.entry.body.clone()),
            (Format::Ocsf13, _) => serde_json::from_str::<Value>(&self.entry.body)
                .ok()
                .and_then(|event| project(&event, Schema::v1_8(), Schema::v1_3()))
                .map(|projected| projected.to_string()),
            (Format::Ecs, Some(record)) => Some(ecs::document(record, VERSION).to_string()),
            (Format::Cef, Some(record)) => Some(cef::line(record, VERSION)),
            (Format::Ecs | Format::Cef, None) if self.entry.is_checkpoint() => {
                return Text::NoneByRule;
            }
            (Format::Ecs | Format::Cef, None) => None,
        };
        text.map_or(Text::Unsayable, Text::Of)
    }

    /// The epoch of its link.
    pub fn epoch(&self) -> String {
        epoch_of(self.entry.body.as_bytes()).unwrap_or_default()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> String {
        match &self.record {
            Some(record) => record.id.to_string(),
            None => self.entry.link().map_or_else(
                |_| String::new(),
                |link| format!("trail/{}/{}", link.epoch, link.seq),
            ),
        }
    }
}
