//! What this host offers, and what is therefore switched on.
//!
//! ```text
//!  read::facts() ──► HostFacts ──► plan::plan(facts) ──► AttachPlan ──► probe::load
//!      (shell)         (values)            (pure)
//! ```
//!
//! Facts are gathered once, by name and never by kernel version. What could not be found out is
//! `None`, and a plan treats it as "try". Knows nothing of containers or of what programs see.

pub mod btf;
pub mod facts;
pub mod format;
pub mod label;
pub mod plan;
pub mod read;

pub use facts::{CgroupFacts, CgroupMode, HostFacts};
pub use plan::{AttachPlan, plan};
