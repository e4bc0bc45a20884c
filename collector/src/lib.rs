//! The fleet collector and the plimsoll command line.

pub mod accounting;
pub mod api;
pub mod cli;
pub mod config;
pub mod dashboard;
pub mod history;
pub mod ingest;
pub mod inventory;
pub mod join;
pub mod sink;
pub mod sizing;
pub mod telemetry;
