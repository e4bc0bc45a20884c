//! What a [`Framer`](super::Framer) finds, and what it is told in return.

/// Whether all of a head was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All of it.
    Whole,
    /// Longer than [`HEAD_BYTES`](super::HEAD_BYTES).
    TooLong,
    /// A hole in it, or the connection ended or answered first.
    Missing,
}

/// First bytes behind which no head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotHttp {
    /// TLS record: handshake (0x16), major version 3.
    Tls,
    /// Anything else that cannot start an answer: look for the next message.
    Binary,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes of body.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// A body up to the end of the connection.
    UntilClose,
    /// Unknown: look for the next message.
    Lost,
    /// Not HTTP/1.x any more: ignore the rest.
    Opaque,
}

/// Receives what a [`Framer`](super::Framer) finds.
pub(crate) trait Sink {
    /// A head, as bytes up to and including the blank line, or as much as there was.
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing;
    /// Bytes of the body of the last head.
    fn body(&mut self, bytes: &[u8]);
    /// Bytes of the body were not captured, or the chunking was lost.
    fn body_hole(&mut self);
    /// The body (perhaps empty) of the last head is over.
    fn end(&mut self);
    /// The direction does not speak HTTP/1.x here; behind TLS nothing more will come.
    fn not_http(&mut self, kind: NotHttp);
}
