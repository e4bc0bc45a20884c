//! HTTP/1.x message heads and the framing of what follows them: RFC 9112, read leniently, because
//! what a server might accept is what we must see.
//!
//! Parsers are total over any bytes and borrow from them. They know no metadata service.

mod chunks;
mod framer;
mod head;
mod sink;

pub use framer::{Framer, HEAD_BYTES};
pub use head::{
    Head, Header, Oddities, RequestLine, StatusLine, parse_request_line, parse_status_line,
    walk_headers,
};
pub use sink::{Cut, Framing, NotHttp, Sink};
