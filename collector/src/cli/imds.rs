#![expect(
    clippy::disallowed_methods,
    reason = "shell: opens the capture, draws the key of the token hashes"
)]
//! `plimsoll imds decode`: the agent's own reassembly, parser and classifier on a capture.
//!
//! Prints events as they complete, so a capture may be larger than memory; one for each request,
//! late as its answer may be ([`fates`]). Where a capture ends in
//! the middle of a packet, the document is still whole and the error says where. What is passed over
//! because of its link type is counted in the document. Token hashes are keyed anew in each run: they
//! pair events of one document and nothing else.

mod capture;
mod fates;
mod order;
mod packet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use plimsoll_imds::{Decoder, ImdsEvent, Key, Limits};
use serde::Serialize;
use thiserror::Error;

pub use capture::Broken;
use capture::Packets;
use fates::Fates;
use order::Order;
pub use packet::LINKS;

/// Why a capture was not decoded to its end.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No such file, or not ours to read.
    #[error("opening {path}")]
    Open {
        /// As given.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Whoever reads our output does not any more.
    #[error("writing events")]
    Output(#[source] std::io::Error),
    /// The capture is no capture, or ends too soon.
    #[error("decoding {path}, packet {packet} at byte {offset}")]
    Capture {
        /// As given.
        path: String,
        /// Number of the packet that could not be read; the first has number 1.
        packet: u64,
        /// Where its block begins in the file.
        offset: u64,
        /// Why.
        #[source]
        source: Broken,
    },
}

/// Packets that were passed over.
#[derive(Serialize)]
struct Skipped {
    link_type: i32,
    packets: u64,
}

#[derive(Serialize)]
struct Printed<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a ImdsEvent,
}

/// What came of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Events printed.
    pub events: u64,
    /// Packets passed over, by the number of their link type, which is not one that is read.
    pub skipped: BTreeMap<i32, u64>,
}

/// Decodes a pcap or pcapng file, `-` for standard input, and prints a document of schema
/// `plimsoll.imds/v1`.
pub fn decode(path: &Path, out: &mut dyn Write) -> Result<Decoded, DecodeError> {
    let open = |path: &Path| {
        File::open(path).map_err(|source| DecodeError::Open {
            path: path.display().to_string(),
            source,
        })
    };
    let random = Path::new("/dev/urandom");
    let mut key = Key([0; 32]);
    open(random)?
        .read_exact(&mut key.0)
        .map_err(|source| DecodeError::Open {
            path: random.display().to_string(),
            source,
        })?;
    if path.as_os_str() == "-" {
        return decode_from("standard input", std::io::stdin(), &key, out);
    }
    let file = open(path)?;
    // It opens like a file, and only reading fails.
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(DecodeError::Open {
            path: path.display().to_string(),
            source: std::io::ErrorKind::IsADirectory.into(),
        });
    }
    decode_from(&path.display().to_string(), file, &key, out)
}

/// [`decode`] for bytes from anywhere; `name` is for messages.
pub fn decode_from(
    name: &str,
    input: impl Read + Send,
    key: &Key,
    out: &mut dyn Write,
) -> Result<Decoded, DecodeError> {
    let broken = |packet: u64, offset: u64, source: Broken| DecodeError::Capture {
        path: name.to_owned(),
        packet,
        offset,
        source,
    };
    let mut packets = Packets::open(input).map_err(|source| broken(1, 0, source))?;
    let limits = Limits::default();
    let mut decoder = Decoder::new(limits, key);
    let mut fates = Fates::new(limits.late_ns());
    let mut order = Order::default();
    let mut document = Document::begin(out).map_err(DecodeError::Output)?;
    let end = loop {
        let mut now_ns = 0;
        let more = packets.next(&mut |packet| {
            if let Some(segment) = packet::segment(packet) {
                order.push(&segment, &mut |segment| {
                    now_ns = segment.time_ns;
                    decoder.push(segment, &mut |event| fates.push(event, now_ns));
                });
            }
        });
        while let Some(event) = fates.next(Some(now_ns)) {
            document.event(&event).map_err(DecodeError::Output)?;
        }
        match more {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(source) => break Err(broken(packets.seen() + 1, packets.offset(), source)),
        }
    };
    let end = end.and_then(|()| match packets.unknown() {
        Some((packet, offset, link)) => Err(broken(packet, offset, Broken::Link(link))),
        None => Ok(()),
    });
    order.finish(&mut |segment| {
        decoder.push(segment, &mut |event| fates.push(event, segment.time_ns));
    });
    decoder.finish(&mut |event| fates.push(event, u64::MAX));
    while let Some(event) = fates.next(None) {
        document.event(&event).map_err(DecodeError::Output)?;
    }
    let skipped = packets.skipped();
    let events = document.end(skipped).map_err(DecodeError::Output)?;
    end.map(|()| Decoded {
        events,
        skipped: skipped.clone(),
    })
}

/// The document under way.
struct Document<'a> {
    out: &'a mut dyn Write,
    events: u64,
}

impl<'a> Document<'a> {
    fn begin(out: &'a mut dyn Write) -> std::io::Result<Self> {
        out.write_all(br#"{"schema":"plimsoll.imds/v1","events":["#)?;
        Ok(Self { out, events: 0 })
    }

    fn event(&mut self, event: &ImdsEvent) -> std::io::Result<()> {
        // Every u64 of nanoseconds is a time that jiff knows.
        let time = jiff::Timestamp::from_nanosecond(event.time_ns.into())
            .map(|time| time.to_string())
            .unwrap_or_default();
        let separator: &[u8] = if self.events == 0 { b"\n" } else { b",\n" };
        self.out.write_all(separator)?;
        serde_json::to_writer(&mut *self.out, &Printed { time, event })?;
        self.events += 1;
        Ok(())
    }

    fn end(self, skipped: &BTreeMap<i32, u64>) -> std::io::Result<u64> {
        self.out.write_all(b"\n]")?;
        if !skipped.is_empty() {
            let skipped = skipped.iter();
            let skipped: Vec<_> = skipped
                .map(|(&link_type, &packets)| Skipped { link_type, packets })
                .collect();
            self.out.write_all(br#","skipped":"#)?;
            serde_json::to_writer(&mut *self.out, &skipped)?;
        }
        self.out.write_all(b"}\n")?;
        self.out.flush()?;
        Ok(self.events)
    }
}
