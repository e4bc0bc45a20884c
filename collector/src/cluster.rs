//! The Kubernetes API server: what it says that there is, who somebody is, and what they may.
//!
//! ```text
//!  Client ─► Follower (one for each kind) ─► Change ─► writer ─► inventory::Index
//!  token ─► token::prepare ─► Reviewer (asks) ─► token::interpret ─► User ─► token::sender ─► node
//!  User, Right ─► access::prepare ─► Reviewer (asks) ─► access::interpret ─► Verdict
//! ```
//!
//! What is asked and what an answer means is pure, in [`token`] and [`access`]; [`reviews`] carries it.
//! [`memo`] keeps answers for a while, [`shares`] bounds how much one asker may ask. [`watch`] follows the objects,
//! each kind in [`follow`]. Deliberately not known here: records, pages.

pub mod access;
mod bound;
pub mod census;
pub mod client;
mod discover;
mod follow;
mod item;
mod jwt;
pub mod kinds;
pub mod memo;
mod pace;
pub mod plugin;
pub mod reviews;
pub mod shares;
pub mod telemetry;
pub mod token;
pub mod watch;

use std::sync::Arc;

use crate::inventory::Moment;

pub use client::{ClusterError, client};
pub use reviews::{Reviewer, Unavailable};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;
