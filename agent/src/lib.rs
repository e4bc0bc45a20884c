//! The node agent.

pub mod admin;
pub mod audit;
pub mod cgroup;
pub mod config;
pub mod containers;
pub mod export;
pub mod host;
pub mod identity;
pub mod probe;
pub mod spool;
pub mod telemetry;
pub mod usage;
