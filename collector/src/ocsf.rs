//! Audit events in the Open Cybersecurity Schema Framework (schema.ocsf.io), and the judge of what is written so.
//!
//! ```text
//!  record, names ─ event ─► types (1.8.0) ─ as JSON ─┬─► destination
//!                                                    └─ project ─► 1.3.0, for Security Lake
//!  ocsf/*.json ─ schema ─► validate: every attribute, its type and its values
//! ```
//!
//! * [`schema`]: what a release of OCSF says, kept in `collector/ocsf`
//! * [`types`]: what our events are made of, generated from that
//! * [`event`]: what each of our events is in OCSF
//! * [`project`]: the same for a reader of an older release
//! * [`bound`]: events that are too long for a destination
//! * [`validate`]: what is wrong with an event
//!
//! Pure. Knows neither where events go nor how they are kept.

pub mod bound;
pub mod event;
mod fields;
pub mod project;
pub mod schema;
#[rustfmt::skip]
pub mod types;
pub mod validate;

pub use schema::Schema;
