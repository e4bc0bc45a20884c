//! How long the collector asks the agent to wait: a `google.rpc.RetryInfo` in the details of a status
//! (opentelemetry.io/docs/specs/otlp, "OTLP/gRPC throttling"). Pure.
//!
//! Of the messages of `google.rpc` and `google.protobuf` only the fields that lead there are declared; the
//! others are passed over. Details that are none of these ask for nothing.

use std::time::Duration;

use prost::Message as _;
use tonic::Status;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    of: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The time, if one is asked for.
pub(super) fn asked(status: &Status) -> Option<Duration> {
    let details = Details::decode(status.details()).ok()?;
    let info = details.of.iter().find(|of| of.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let (seconds, nanos) = (delay.seconds.try_into().ok()?, delay.nanos.try_into().ok()?);
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos))
}

#[cfg(test)]
pub(super) mod tests {
    use tonic::Code;

    use super::*;

    /// Code 8, a message, and a RetryInfo of 1.5 s, as they are on the wire.
    pub(in crate::export) const BUSY: &[u8] = b"\x08\x08\x12\x05later\x1a\x36\
        \x0a\x28type.googleapis.com/google.rpc.RetryInfo\
        \x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";

    fn check(details: &'static [u8], expect: Option<Duration>) {
        let details = details.into();
        let status = Status::with_details(Code::ResourceExhausted, "later", details);
        assert_eq!(asked(&status), expect);
    }

    #[test]
    fn the_time_that_is_asked_for_is_read() {
        check(BUSY, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_no_such_detail_asks_for_nothing() {
        check(b"", None);
        check(&BUSY[..9], None);
        check(&BUSY[..40], None);
        check(b"\x1a\x02\x0a\x00", None);
        // A negative time.
        let negative = b"\x1a\x39\x0a\x28type.googleapis.com/google.rpc.RetryInfo\
            \x12\x0d\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        check(negative, None);
    }
}
