//! Messages as RFC 5424 has them, counted as RFC 6587 (section 3.4.1) and RFC 5425 do. Pure.

use jiff::Timestamp;
use serde::Deserialize;

use crate::config::sinks::Syslog as Settings;
use crate::sinks::{Message, QuarantineReason, Quarantined};

/// Bytes of one call's messages at the most, but for a first one that is longer.
pub const CALL_BYTES: usize = 1 << 20;

/// Bytes that a host's name and a message's kind have at the most (RFC 5424, section 6).
const HOSTNAME_BYTES: usize = 255;
const MSGID_BYTES: usize = 32;

/// Says that what follows is UTF-8 (RFC 5424, section 6.4).
const BOM: &[u8] = "\u{feff}".as_bytes();

/// What is written in one call, and of what.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The frames.
    pub bytes: Vec<u8>,
    /// The numbers of the messages in them.
    pub seqs: Vec<u64>,
    /// So many messages from the front are in them, or in `quarantined`.
    pub taken: usize,
    /// Those that are never sent.
    pub quarantined: Vec<Quarantined>,
}

/// As many messages from the front as one call has room for.
pub fn call(messages: &[Message], settings: &Settings) -> Call {
    let mut call = Call::default();
    for message in messages {
        let is_full = match frame(message, settings) {
            Ok(frame) if call.bytes.is_empty() || call.bytes.len() + frame.len() <= CALL_BYTES => {
                call.bytes.extend_from_slice(&frame);
                call.seqs.push(message.seq);
                false
            }
            Ok(_) => true,
            Err(reason) => {
                let seq = message.seq;
                call.quarantined.push(Quarantined { seq, reason });
                false
            }
        };
        if is_full {
            break;
        }
        call.taken += 1;
    }
    call
}

/// One message behind the number of its bytes. The event is in it as it is.
fn frame(message: &Message, settings: &Settings) -> Result<Vec<u8>, QuarantineReason> {
    if message.text.is_empty() {
        return Err(QuarantineReason::Empty);
    }
    let header = header(message, settings);
    let (bytes, most) = (
        header.len() + BOM.len() + message.text.len(),
        settings.max_message_bytes,
    );
    if bytes > most {
        return Err(QuarantineReason::TooLong { bytes, most });
    }
    let count = format!("{bytes} ");
    Ok([
        count.as_bytes(),
        header.as_bytes(),
        BOM,
        message.text.as_bytes(),
    ]
    .concat())
}

/// What an OCSF event says of itself; nothing in other forms.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    severity_id: Option<i64>,
    metadata: Named,
    device: Named,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    log_name: Option<String>,
    hostname: Option<String>,
}

/// All that stands before the event, with the space.
fn header(message: &Message, settings: &Settings) -> String {
    let said: Said = serde_json::from_str(&message.text).unwrap_or_default();
    let priority = settings.facility * 8 + severity(said.severity_id);
    let time = timestamp(message.time_unix_ns);
    let hostname = settings
        .hostname
        .as_deref()
        .or(said.device.hostname.as_deref());
    let hostname = word(hostname, HOSTNAME_BYTES);
    let kind = word(said.metadata.log_name.as_deref(), MSGID_BYTES);
    let (id, uid, seq) = (&settings.sd_id, escaped(&message.uid), message.seq);
    format!("<{priority}>1 {time} {hostname} plimsoll - {kind} [{id} uid=\"{uid}\" seq=\"{seq}\"] ")
}

/// OCSF's grade as syslog's (RFC 5424, section 6.2.1): critical is critical, informational is informational; what
/// is low, or has no grade, is a notice. 0, which many receivers write onto every terminal, is none's.
const fn severity(severity_id: Option<i64>) -> u32 {
    match severity_id {
        Some(1) => 6,
        Some(3) => 4,
        Some(4) => 3,
        Some(5) => 2,
        Some(6) => 1,
        _ => 5,
    }
}

/// In UTC, with the microseconds that the format has room for.
fn timestamp(time_unix_ns: u64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_unix_ns / 1000 * 1000));
    // u64 ends in 2554: there is always one.
    time.map_or_else(|_| "-".to_owned(), |time| format!("{time:.6}"))
}

/// Printable ASCII without spaces, at the most so long; `-` for nothing.
fn word(text: Option<&str>, most: usize) -> String {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("-");
    let printable = |char: char| if char.is_ascii_graphic() { char } else { '_' };
    text.chars().map(printable).take(most).collect()
}

/// The value of a parameter (RFC 5424, section 6.3.3).
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for char in value.chars() {
        if matches!(char, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests;
