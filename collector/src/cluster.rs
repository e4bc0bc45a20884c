//! The Kubernetes API server, as far as the collector asks it who somebody is and what they may.
//!
//! ```text
//!  token ─► token::prepare ─► Reviewer (asks) ─► token::interpret ─► User ─► token::sender ─► node
//!  User, Right ─► access::prepare ─► Reviewer (asks) ─► access::interpret ─► Verdict
//! ```
//!
//! What is asked and what an answer means is pure, in [`token`] and [`access`]; [`reviews`] carries it.
//! [`memo`] keeps answers for a while. Deliberately not known here: records, pages, watches.

pub mod access;
pub mod client;
mod jwt;
pub mod memo;
pub mod reviews;
pub mod token;

pub use client::{ClusterError, client};
pub use reviews::{Reviewer, Unavailable};
