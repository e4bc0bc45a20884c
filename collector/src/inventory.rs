//! What the cluster says it runs: pods, their owners, requests and limits, from Kubernetes objects.
//!
//! Owns the objects' reading ([`parse`]), the index over them ([`Index`]) and the watching of files
//! ([`reload`]). Deliberately knows nothing of usage, of events or of how names are shown: it
//! answers what a pod UID and a container id are called, and what was asked for them.
//!
//! ```text
//!  files, folders ── reload ──► parse ──► Object ──► Index ──► lookup(pod UID, container id)
//! ```

pub mod index;
pub mod parse;
pub mod quantity;
pub mod reload;
pub mod selector;
pub mod shared;
mod twice;

pub use index::{ContainerName, ContainerRef, Holder, Index, Moment, Resources, Role, Workload};
pub use parse::{Object, Parsed, Problem};
pub use quantity::QuantityError;
pub use reload::{Inventory, LastLook, Reloaded};
pub use selector::{Selector, SelectorError};
pub use shared::{IndexReader, IndexWriter};
