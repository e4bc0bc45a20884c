//! The fleet collector and the plimsoll command line.
//!
//! ```text
//!  OTLP ─► ingest (check, dedupe, fsync) ─► journal ─┬─ usage ────► history ─► sizing ─┐
//!                                                    └─ security ─► sink (file)        ├─► api, dashboard
//!  Kubernetes objects ─► inventory ─► join ──────────────▲  ▲──────────────────────────┘
//! ```
//!
//! Read [`run::run`] first: it is the architecture. Knows no kernel layout, and never depends on
//! the agent.

#![forbid(unsafe_code)]

pub mod api;
pub mod books;
pub mod bucket;
pub mod cef;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connections;
pub mod dashboard;
pub mod ecs;
pub mod errors;
pub mod hands;
pub mod history;
pub mod ingest;
pub mod inventory;
pub mod join;
pub mod ocsf;
pub mod outlet;
pub mod probe;
pub mod publish;
pub mod reader;
pub mod run;
pub mod sink;
pub mod sinks;
pub mod sizing;
pub mod telemetry;
pub mod tls;
pub mod trail;
mod x509;

#[cfg(test)]
#[path = "../tests/records/mod.rs"]
mod records;

pub use run::{RunError, run};
