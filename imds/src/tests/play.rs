//! A conversation of a client with an endpoint, played to a decoder.

use std::net::SocketAddr;

use super::MS;
use crate::{ConnKey, Decoder, Direction, ImdsEvent, Key, Limits, Segment, Taken};

/// A conversation of one or more connections, played to a decoder.
pub(super) struct Play {
    pub(super) decoder: Decoder,
    pub(super) events: Vec<ImdsEvent>,
    pub(super) server: SocketAddr,
    pub(super) port: u16,
    pub(super) up_seq: u32,
    pub(super) down_seq: u32,
    pub(super) now_ns: u64,
    pub(super) hop_limit: Option<u8>,
    pub(super) acks: bool,
}

impl Play {
    pub(super) fn to(server: &str) -> Self {
        Self {
            decoder: Decoder::new(Limits::default(), &Key([1; 32])),
            events: Vec::new(),
            server: server.parse().unwrap(),
            port: 40_000,
            up_seq: 1_000,
            down_seq: 9_000,
            now_ns: MS,
            hop_limit: None,
            acks: true,
        }
    }

    pub(super) fn imds() -> Self {
        Self::to("169.254.169.254:80")
    }

    pub(super) fn segment(
        &mut self,
        direction: Direction,
        seq: u32,
        payload: &[u8],
        wire_len: usize,
        flag: &str,
    ) -> Taken {
        let client = SocketAddr::new([10, 0, 0, 5].into(), self.port);
        let (src, dst) = match direction {
            Direction::Request => (client, self.server),
            Direction::Response => (self.server, client),
        };
        let ack = match direction {
            Direction::Request => self.down_seq,
            Direction::Response => self.up_seq,
        };
        let segment = Segment {
            key: ConnKey::Ends {
                client,
                server: self.server,
            },
            direction,
            seq,
            ack: (self.acks && !(flag == "S" && direction == Direction::Request)).then_some(ack),
            syn: flag == "S",
            fin: flag == "F",
            rst: flag == "R",
            fragment: false,
            hop_limit: self.hop_limit,
            payload,
            payload_len: u32::try_from(wire_len).unwrap(),
            time_ns: self.now_ns,
            src,
            dst,
        };
        let events = &mut self.events;
        self.decoder.push(&segment, &mut |event| events.push(event))
    }

    pub(super) fn open(&mut self) -> &mut Self {
        self.segment(Direction::Request, self.up_seq.wrapping_sub(1), b"", 0, "S");
        self.segment(
            Direction::Response,
            self.down_seq.wrapping_sub(1),
            b"",
            0,
            "S",
        );
        self
    }

    /// The next connection of the same client.
    pub(super) fn reconnect(&mut self) -> &mut Self {
        self.port += 1;
        self.open()
    }

    /// Sends; `|` marks a segment boundary.
    pub(super) fn ask(&mut self, text: &str) -> &mut Self {
        text.split('|')
            .for_each(|part| self.ask_bytes(part.as_bytes(), part.len()));
        self
    }

    pub(super) fn ask_bytes(&mut self, bytes: &[u8], wire_len: usize) {
        let seq = self.up_seq;
        self.up_seq = self.up_seq.wrapping_add(u32::try_from(wire_len).unwrap());
        self.segment(Direction::Request, seq, bytes, wire_len, "");
    }

    pub(super) fn answer(&mut self, text: &str) -> &mut Self {
        let seq = self.down_seq;
        self.down_seq = self
            .down_seq
            .wrapping_add(u32::try_from(text.len()).unwrap());
        self.segment(Direction::Response, seq, text.as_bytes(), text.len(), "");
        self
    }

    /// An answer that arrives, and that nobody captures.
    pub(super) fn lose(&mut self, text: &str) -> &mut Self {
        self.down_seq = self
            .down_seq
            .wrapping_add(u32::try_from(text.len()).unwrap());
        self
    }

    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now_ns += ms * MS;
        let events = &mut self.events;
        self.decoder
            .advance(self.now_ns, &mut |event| events.push(event));
        self
    }

    pub(super) fn end(&mut self) -> Vec<ImdsEvent> {
        let events = &mut self.events;
        self.decoder.finish(&mut |event| events.push(event));
        let stats = self.decoder.stats();
        assert_eq!(
            stats.segments,
            stats.used + stats.no_payload + stats.repeated + stats.outside + stats.not_endpoint
        );
        assert_eq!(stats.requests + stats.late_answers, stats.events);
        assert_eq!(self.decoder.connections(), 0);
        std::mem::take(&mut self.events)
    }

    pub(super) fn one(&mut self) -> ImdsEvent {
        let mut events = self.end();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}
