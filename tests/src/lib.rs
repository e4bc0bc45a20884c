//! The stage on which Plimsoll is shown and tested, and what plays on it.
//!
//! `stage` makes pods out of real processes, cgroups and namespaces, and a metadata service;
//! `plimsoll` runs the agent and the collector beside it; `up` shows what they see; `scenarios`
//! compares that with the truth, on this host or, started by `lab`, in a virtual machine.

#![forbid(unsafe_code)]

pub mod alive;
pub mod apiserver;
pub mod authority;
pub mod bench;
pub mod cgroups;
pub mod checks;
pub mod cloudwatch;
pub mod confine;
pub mod elasticsearch;
pub mod emit;
pub mod encode;
pub mod enter;
pub mod fuzz;
pub mod hec;
pub mod imds_cases;
pub mod imds_server;
pub mod inventory;
pub mod lab;
mod loopback;
pub mod manifest;
pub mod network;
pub mod otlp;
pub mod plimsoll;
pub mod pods;
pub mod scenarios;
pub mod stage;
pub mod stop;
pub mod up;
pub mod workloads;
