//! An event in the form that a sink gives it. Pure.

use std::cell::OnceCell;

use serde::Deserialize;
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

/// A record of the trail. It is read as far as the route and the form of a sink need it: most need nothing.
#[derive(Debug)]
pub struct Event<'a> {
    entry: &'a Entry,
    record: OnceCell<Option<AuditRecord>>,
}

impl<'a> Event<'a> {
    /// That of an entry.
    pub const fn of(entry: &'a Entry) -> Self {
        Self {
            entry,
            record: OnceCell::new(),
        }
    }

    /// `None` for what the trail says of itself, and for what an older version wrote otherwise.
    fn record(&self) -> Option<&AuditRecord> {
        let read = || {
            let document = serde_json::from_str::<Value>(&self.entry.document).ok()?;
            AuditRecord::from_document(&document).ok()
        };
        self.record.get_or_init(read).as_ref()
    }

    /// Whether a route lets it through. What the trail says of itself goes everywhere: without it nobody can tell
    /// whether something is missing. So does what cannot be read: that it is for nobody, nobody can say.
    pub fn is_for(&self, route: &Route) -> bool {
        *route == Route::default()
            || self.record().is_none_or(|record| {
                let class = EventClass::from(&record.event);
                route.matches(class, severity(&record.event), record.name("namespace"))
            })
    }

    /// It in that form.
    pub fn text(&self, format: Format) -> Text {
        let text = match format {
            Format::Ocsf18 => Some(self.entry.body.clone()),
            Format::Ocsf13 => serde_json::from_str::<Value>(&self.entry.body)
                .ok()
                .and_then(|event| project(&event, Schema::v1_8(), Schema::v1_3()))
                .map(|projected| projected.to_string()),
            Format::Ecs | Format::Cef if self.entry.is_checkpoint() => return Text::NoneByRule,
            Format::Ecs => self
                .record()
                .map(|record| ecs::document(record, VERSION).to_string()),
            Format::Cef => self.record().map(|record| cef::line(record, VERSION)),
        };
        text.map_or(Text::Unsayable, Text::Of)
    }

    /// The epoch of its link.
    pub fn epoch(&self) -> String {
        epoch_of(self.entry.body.as_bytes()).unwrap_or_default()
    }

    /// `metadata.uid`; empty where there is none.
    pub fn uid(&self) -> String {
        #[derive(Deserialize)]
        struct Named {
            metadata: Uid,
        }
        #[derive(Deserialize)]
        struct Uid {
            uid: String,
        }
        let named = serde_json::from_str::<Named>(&self.entry.body);
        named.map(|named| named.metadata.uid).unwrap_or_default()
    }
}
