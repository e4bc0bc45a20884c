//! HTTP/1.x message heads and the framing of what follows them: RFC 9112, read leniently, because
//! what a server might accept is what we must see.
//!
//! Parsers are total over any bytes and borrow from them. They know no metadata service.

mod chunks;
mod framer;
mod head;
mod sink;

pub(crate) use framer::{Framer, HEAD_BYTES};
pub(crate) use head::{
    Head, Header, METHODS, RequestLine, names_method, parse_request_line, parse_status_line,
    walk_headers,
};
pub(crate) use sink::{Cut, Framing, NotHttp, Sink};
