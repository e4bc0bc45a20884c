//! What agent and collector agree on: identities, records, sketches, fates, and their OTLP shapes.
//!
//! Pure: no files, no sockets, no clock, no runtime. Knows nothing of kernel layouts (`abi`), of
//! Kubernetes objects, or of how either side stores what it holds.
//!
//! ```text
//!  agent  UsageWindow ── otlp::metrics ──► ResourceMetrics ─┐
//!         AuditEvent  ── otlp::logs ─────► LogRecord       ─┴─► collector, same structs again
//! ```

#![forbid(unsafe_code)]

pub mod event;
pub mod fate;
pub mod identity;
pub mod names;
pub mod otlp;
pub mod record;
pub mod retry;
pub mod sketch;
pub mod stage;
pub mod usage;

pub use event::AuditEvent;
pub use identity::Identity;
pub use record::{Class, RecordId};
pub use sketch::Sketch;
pub use usage::UsageWindow;
