//! The sink to a receiver of syslog, by RFC 5424 over TLS (RFC 5425), or over TCP on the same machine.
//!
//! ```text
//!  messages ─► prepare ─► Call ─► connection (shell) ─► written, and the other side there still ─► Sent
//!                          └────► Kept: the last ones, written again on the next connection
//! ```
//!
//! Syslog acknowledges nothing, so this is best effort. Messages count as taken once they were handed to the kernel
//! and the receiver did not end the connection within a moment. They are kept all the same: those of the last call,
//! and of calls before it as long as the connection was not seen open [`KEPT_MS`] later, up to [`KEPT_BYTES`]. When
//! the connection has ended they are written again on the next one, before anything new: a receiver that went away
//! with unread bytes gets them twice rather than never, with one `uid`.
//!
//! What can be lost: what the receiver's kernel took and the receiver did not read before it ended, if the receiver
//! left it unread for longer than [`KEPT_MS`], if more than [`KEPT_BYTES`] were written behind it, or if the
//! collector ends too before it has connected anew. And what the receiver itself loses after it was read: nobody is
//! told.
//!
//! Retries are the caller's: one [`send`](Syslog::send) writes one call, behind what is to be written again.

pub mod connection;
pub mod prepare;

use std::collections::VecDeque;
use std::time::Duration;

use self::connection::{Connection, refused};
use super::trust::{Files, Trust};
use super::{Message, Refused, Sent};
use crate::config::sinks::Syslog as Settings;

/// A connection that is seen open so long after a call has brought it to the receiver, milliseconds: one whose bytes
/// are not acknowledged ends after half of it.
pub const KEPT_MS: u64 = 60_000;

/// Bytes of calls that are kept: more than the two kernels take for a receiver that does not read, by their defaults.
pub const KEPT_BYTES: usize = 4 << 20;

/// How long the other side is given, to end the connection and to take what is written.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// Before a call: long enough to see what has come already.
    before: Duration,
    /// After the first call of a connection. With TLS 1.3 only then is told that our certificate is not taken.
    first: Duration,
    /// After every other: a way there and back.
    after: Duration,
    /// For each chunk that is written.
    stall: Duration,
}

const WAITS: Waits = Waits {
    before: Duration::from_millis(1),
    first: Duration::from_secs(1),
    after: Duration::from_millis(100),
    stall: Duration::from_secs(30),
};

/// A receiver that messages are sent to.
#[derive(Debug)]
pub struct Syslog {
    settings: Settings,
    waits: Waits,
    trust: Trust,
    /// None while a call is under way: dropped in its midst, it leaves no half of a frame behind.
    connection: Option<Connection>,
    kept: Kept,
    /// Messages up to this number were perhaps written by a call that failed.
    in_doubt_until: Option<u64>,
    /// Messages taken before that were written again, and not told yet.
    repeated: u64,
}

/// Calls that the receiver may not have read. The last one is always among them.
#[derive(Debug, Default)]
struct Kept {
    calls: VecDeque<KeptCall>,
    bytes: usize,
}

#[derive(Debug)]
struct KeptCall {
    bytes: Vec<u8>,
    /// Of its messages, those not counted yet as perhaps there twice.
    once: u64,
    written_unix_ms: u64,
}

impl Syslog {
    /// A sink that has reached nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            waits: WAITS,
            trust: Trust::default(),
            connection: None,
            kept: Kept::default(),
            in_doubt_until: None,
            repeated: 0,
        }
    }

    /// Sends one call's worth from the front of `messages`, which begin at the cursor and whose numbers rise.
    ///
    /// Dropped while it waits, it has perhaps written messages; they are written again and counted as such.
    ///
    /// # Errors
    /// Nothing more was taken, see [`Refused`].
    pub async fn send(&mut self, messages: &[Message], now_unix_ms: u64) -> Result<Sent, Refused> {
        let call = prepare::call(messages, &self.settings);
        let mut sent = Sent {
            taken: call.taken,
            delivered: call.seqs.len() as u64,
            quarantined: call.quarantined,
            ..Sent::default()
        };
        let Some(&last) = call.seqs.last() else {
            return Ok(sent);
        };
        let (mut connection, wait) = self.connect(now_unix_ms).await?;
        let until = self.in_doubt_until;
        let in_doubt = call.seqs.partition_point(|seq| Some(*seq) <= until) as u64;
        self.in_doubt_until = until.max(Some(last));
        let written = match connection.write(&call.bytes, self.waits.stall).await {
            Ok(()) => connection.is_open(wait).await,
            Err(error) => Err(error),
        };
        written.map_err(|error| refused(&self.settings, "write to", error))?;
        self.connection = Some(connection);
        self.in_doubt_until = until.filter(|until| *until > last);
        self.kept.push(KeptCall {
            once: sent.delivered - in_doubt,
            bytes: call.bytes,
            written_unix_ms: now_unix_ms,
        });
        sent.maybe_twice = in_doubt + std::mem::take(&mut self.repeated);
        Ok(sent)
    }

    /// Ends the connection in order, so that what is under way arrives. The next call connects anew.
    pub async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    /// The connection, if the other side has not ended it, or a new one, on which what is kept was written again;
    /// and how long to wait after its next call.
    async fn connect(&mut self, now_unix_ms: u64) -> Result<(Connection, Duration), Refused> {
        let mut config = None;
        if self.settings.tls {
            let files = Files {
                ca_file: self.settings.ca_file.as_deref(),
                cert_file: self.settings.cert_file.as_deref(),
                key_file: self.settings.key_file.as_deref(),
            };
            let (current, is_new) = self.trust.look(files, &self.settings.address)?;
            if is_new {
                self.close().await;
            }
            config = Some(current);
        }
        if let Some(mut connection) = self.connection.take()
            && connection.is_open(self.waits.before).await.is_ok()
        {
            self.kept.settle(now_unix_ms);
            return Ok((connection, self.waits.after));
        }
        let mut connection = Connection::open(&self.settings, config).await?;
        for call in &mut self.kept.calls {
            self.repeated += std::mem::take(&mut call.once);
            let written = connection.write(&call.bytes, self.waits.stall).await;
            written.map_err(|error| refused(&self.settings, "write again to", error))?;
            call.written_unix_ms = now_unix_ms;
        }
        Ok((connection, self.waits.first))
    }
}

impl Kept {
    fn push(&mut self, call: KeptCall) {
        self.bytes += call.bytes.len();
        self.calls.push_back(call);
        while self.bytes > KEPT_BYTES && self.calls.len() > 1 {
            self.forget_first();
        }
    }

    /// The connection is open at this time.
    fn settle(&mut self, now_unix_ms: u64) {
        let is_old = |call: &KeptCall| now_unix_ms.saturating_sub(call.written_unix_ms) > KEPT_MS;
        while self.calls.len() > 1 && self.calls.front().is_some_and(is_old) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let first = self.calls.pop_front();
        self.bytes -= first.map_or(0, |call| call.bytes.len());
    }
}

#[cfg(test)]
mod tests;
