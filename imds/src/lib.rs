//! Instance metadata (IMDS), EKS Pod Identity and ECS credential requests, from TCP segments to
//! events.
//!
//! ```text
//!  Segment ─▶ Decoder ─▶ Connection ─▶ stream (order, gaps) ─▶ http (heads, bodies)
//!                                                                │ request      │ response
//!                                                                ▼              ▼
//!                                        classify + redact ─▶ pending ─▶ ImdsEvent
//! ```
//!
//! The crate is pure: no I/O, no clock, no kernel layout, no capture format. The agent feeds it
//! kernel records, `plimsoll imds decode` feeds it packets of a capture, and both get the same
//! events. Every input is hostile: each decoder is total, each buffer has a name in [`Limits`],
//! and nothing that authenticates anybody leaves `redact` other than as a keyed hash.
//!
//! It deliberately does not know which pod or process a connection belongs to: events carry the
//! caller's own [`ConnKey`].

#![forbid(unsafe_code)]

mod classify;
mod connection;
mod decoder;
mod event;
mod flags;
mod http;
mod redact;
mod request;
mod response;
mod segment;
mod stream;
mod target;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Limits, Stats, Taken};
pub use event::{Addr, Class, Evidence, ImdsEvent, Opaque, Outcome, PodIdentity, Version};
pub use flags::Flags;
pub use redact::{Key, Redactor};
pub use segment::{ConnKey, Direction, Endpoint, Segment};
