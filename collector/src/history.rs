//! What containers used: one bounded series for each, durable, merged on the way in.
//!
//! Owns the shape of a series ([`usage::Usage`]), its durable store ([`store::History`]) and the
//! grouping by workload ([`fleet::Fleet`]). Deliberately knows nothing of recommendations, of OTLP
//! or of pages.
//!
//! A series is kept for each *container id*, with the names that the join gave, and workloads are
//! put together when they are read. So a name that comes late repairs everything that came before
//! it, a deleted pod keeps its names, and one hot replica stays visible beside its siblings. When
//! the bound on series is reached, the longest-ended named ones are folded into one "earlier pods"
//! series of their workload's container, and the oldest expire when nothing is left to fold; what
//! reports is never touched.
//!
//! ```text
//!  (journal seq, node, window) ── join ──► series of the container ─┐
//!                                             bound reached: fold ──┴─► Fleet: workload → container → pods
//! ```

pub mod arrival;
mod batch;
pub mod encoding;
pub mod feed;
pub mod fleet;
pub mod hottest;
pub mod series;
pub mod store;
pub mod usage;

pub use fleet::{ContainerHistory, Fleet, HostHistory, PodUsage};
pub use hottest::Hottest;
pub use series::{Entry, Series};
pub use store::{Applied, History, HistoryError, HistoryStats, Limits, MAX_SERIES};
pub use usage::Usage;
