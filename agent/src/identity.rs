//! Which container a cgroup id stands for, now or at an earlier moment.
//!
//! ```text
//!  scan at start, slow rescan ── found ──┐
//!  cgroup_mkdir event ────────── made ───┼─► Index ── resolve_with_ancestors(id, …, when) ──► Identity
//!  cgroup_rmdir event ────────── removed ┘
//! ```
//!
//! Pure: it is told of cgroups and of time (nanoseconds of CLOCK_MONOTONIC, as the kernel stamps its
//! records). It never reads `/proc` or the tree, and knows nothing of names in the cluster.

mod index;

pub use index::{Entry, Forgotten, Index, Limits};
