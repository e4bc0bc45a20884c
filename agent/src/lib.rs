//! The node agent: what every container really uses, and who reads the metadata service.
//!
//! ```text
//!  host (facts ► plan) ► probe (attach, rings, maps) ─┬─► containers (identity, windows) ─┐
//!  cgroup + usage (files, kept open) ─────────────────┘                                   ├► spool ► export
//!                         probe ► audit (imds: reassemble, classify, redact) ─────────────┘
//!  admin: /livez /readyz /metrics
//! ```
//!
//! Read [`run`] first: it is the architecture. Has no Kubernetes access and no cloud credentials.

pub mod admin;
pub mod audit;
mod books;
pub mod causes;
pub mod cgroup;
pub mod check;
pub mod config;
pub mod containers;
pub mod export;
pub mod host;
pub mod identity;
mod node;
pub mod probe;
pub mod run;
pub mod spool;
pub mod telemetry;
#[cfg(test)]
mod test_log;
pub mod usage;

pub use run::{RunError, run};
