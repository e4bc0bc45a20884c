//! How long a sender is asked to wait: a `google.rpc.RetryInfo` in the details of a gRPC status
//! (opentelemetry.io/docs/specs/otlp, "OTLP/gRPC throttling"), written by the collector and read by the agent.
//!
//! Of the messages of `google.rpc` and `google.protobuf` only what leads there is declared; the others are passed
//! over. Details that are none of these ask for nothing.

use std::time::Duration;

use prost::Message as _;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    /// As it comes: that it is no UTF-8 is no reason not to wait.
    #[prost(bytes = "vec", tag = "2")]
    message: Vec<u8>,
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

/// The details of a status with that code and message, which ask for a wait.
pub fn details(code: i32, message: &str, wait: Duration) -> Vec<u8> {
    let retry = RetryInfo {
        retry_delay: Some(Delay {
            seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(wait.subsec_nanos()).unwrap_or(0),
        }),
    };
    let details = Details {
        code,
        message: message.into(),
        of: vec![Any {
            type_url: RETRY_INFO.to_owned(),
            value: retry.encode_to_vec(),
        }],
    };
    details.encode_to_vec()
}

/// The time, if the details of a status ask for one.
pub fn asked(details: &[u8]) -> Option<Duration> {
    let details = Details::decode(details).ok()?;
    let info = details.of.iter().find(|of| of.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let (seconds, nanos) = (delay.seconds.try_into().ok()?, delay.nanos.try_into().ok()?);
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code 8, a message, and a RetryInfo of 1.5 s, as they are on the wire.
    const BUSY: &[u8] = b"\x08\x08\x12\x05later\x1a\x36\
        \x0a\x28type.googleapis.com/google.rpc.RetryInfo\
        \x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";

    #[test]
    fn a_time_is_written_and_read_as_the_protocol_has_it() {
        let time = Duration::from_millis(1500);
        assert_eq!(details(8, "later", time), BUSY);
        assert_eq!(asked(BUSY), Some(time));
        let mut no_text = BUSY.to_vec();
        no_text[4] = 0xff;
        assert_eq!(asked(&no_text), Some(time));
    }

    #[test]
    fn what_is_no_such_detail_asks_for_nothing() {
        // A negative time.
        let negative = b"\x1a\x39\x0a\x28type.googleapis.com/google.rpc.RetryInfo\
            \x12\x0d\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        for details in [b"", &BUSY[..9], &BUSY[..40], b"\x1a\x02\x0a\x00", negative] {
            assert_eq!(asked(details), None, "{details:?}");
        }
    }
}
