//! Which records were there before, and which never came. Pure.
//!
//! An agent sends each stream in order and again from its last acknowledged record, so one number
//! for each stream is enough to know a repeat, but for its gaps: a loss of power can leave later
//! records of a write in the journal and take earlier ones, which nobody acknowledged and which
//! come again. A stream is known twice: as it is, and as it was at the last sync, because only that
//! may be written into a checkpoint.
//!
//! One node cannot crowd out the rest: at its own bound it loses its own oldest stream, and at the
//! bound of all, the node with the most streams loses one.

use std::collections::BTreeMap;

use plimsoll_wire::{Class, RecordId};

use super::place;
use super::stream::{MAX_GAPS, Progress, Synced, most_bytes};
pub use super::stream::{StoredStream, Stream, Verdict};

/// Node name under which the collector's own records stand: its losses.
pub const OWN_NODE: &str = "plimsoll-collector";
/// How many streams are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one node: two for each life of its spool.
    pub node: usize,
    /// In all.
    pub total: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            node: 32,
            total: 65_536,
        }
    }
}

/// Streams that were forgotten because a bound was reached, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The node's own bound.
    pub node: u64,
    /// The bound of all.
    pub total: u64,
}

/// All streams.
#[derive(Clone, Debug, Default)]
pub struct Dedupe {
    nodes: BTreeMap<String, Vec<Stream>>,
    bounds: Bounds,
    count: usize,
    most_bytes: usize,
    clock: u64,
    /// Streams that went on since the last sync, by class: node and epoch.
    unsynced: [Vec<(String, String)>; 2],
    forgotten: Forgotten,
}

impl Dedupe {
    /// Nothing seen yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    fn find(&self, id: &RecordId) -> Option<&Stream> {
        self.nodes
            .get(&id.node)?
            .iter()
            .find(|stream| stream.is(id))
    }

    /// Says what the record is; changes nothing.
    pub fn judge(&self, id: &RecordId) -> Verdict {
        self.find(id)
            .map_or(Verdict::Next, |stream| stream.now.judge(id.seq))
    }

    /// The highest number of the record's stream; 0 if it is new.
    pub fn watermark(&self, id: &RecordId) -> u64 {
        self.find(id).map_or(0, Stream::watermark)
    }

    /// The most bytes that all streams can take in a checkpoint, the record's own included.
    pub fn most_bytes_with(&self, id: &RecordId) -> usize {
        let known = self.find(id).is_some();
        let own = if known {
            0
        } else {
            most_bytes(&id.node, &id.epoch, MAX_GAPS)
        };
        self.most_bytes + own
    }

    /// The record has its fate. A repeat changes nothing.
    pub fn accept(&mut self, id: &RecordId) {
        self.go_on(id, MAX_GAPS);
    }

    /// The record was found in the journal. A torn write leaves many gaps, and each of them may be
    /// filled yet.
    pub fn accept_found(&mut self, id: &RecordId) {
        self.go_on(id, usize::MAX);
    }

    fn go_on(&mut self, id: &RecordId, max_gaps: usize) {
        self.clock += 1;
        let known = self
            .nodes
            .get_mut(&id.node)
            .and_then(|streams| streams.iter_mut().find(|stream| stream.is(id)));
        let Some(stream) = known else {
            self.begin(id);
            return;
        };
        if stream.now.judge(id.seq) == Verdict::Repeat {
            stream.now.touched = self.clock;
            return;
        }
        if stream.synced == Synced::AsItIs {
            stream.synced = Synced::Earlier(Box::new(stream.now.clone()));
            if let Some(list) = self.unsynced.get_mut(place(id.class)) {
                list.push((id.node.clone(), id.epoch.clone()));
            }
        }
        let most = max_gaps.max(stream.now.gaps.len());
        stream.now.touched = self.clock;
        stream.now.accept(id.seq);
        if stream.now.gaps.len() > most {
            stream.now.gaps.remove(0);
        }
        let more = stream.now.gaps.len().saturating_sub(stream.room);
        stream.room += more;
        self.most_bytes += 2 * more * 10;
    }

    fn begin(&mut self, id: &RecordId) {
        self.make_room(&id.node);
        if let Some(list) = self.unsynced.get_mut(place(id.class)) {
            list.push((id.node.clone(), id.epoch.clone()));
        }
        self.insert(Stream {
            node: id.node.clone(),
            epoch: id.epoch.clone(),
            class: id.class,
            now: Progress {
                first_seq: id.seq,
                watermark: id.seq,
                touched: self.clock,
                ..Progress::default()
            },
            synced: Synced::Nothing,
            room: MAX_GAPS,
        });
    }

    fn insert(&mut self, stream: Stream) {
        self.most_bytes += most_bytes(&stream.node, &stream.epoch, stream.room);
        self.count += 1;
        self.nodes
            .entry(stream.node.clone())
            .or_default()
            .push(stream);
    }

    /// Forgets what a new stream of this node displaces: never a stream of a node that has fewer.
    fn make_room(&mut self, node: &str) {
        let own = self.nodes.get(node).map_or(0, Vec::len);
        if own >= self.bounds.node.max(1) {
            self.forgotten.node += u64::from(self.forget_oldest_of(node));
        }
        if self.count >= self.bounds.total.max(1) {
            let richest = self
                .nodes
                .iter()
                .filter(|(name, _)| *name != OWN_NODE)
                .max_by_key(|(_, streams)| {
                    let newest = streams.iter().map(|stream| stream.now.touched).max();
                    (streams.len(), std::cmp::Reverse(newest))
                })
                .map(|(name, _)| name.clone());
            if let Some(richest) = richest {
                self.forgotten.total += u64::from(self.forget_oldest_of(&richest));
            }
        }
    }

    fn forget_oldest_of(&mut self, node: &str) -> bool {
        let Some(streams) = self.nodes.get_mut(node) else {
            return false;
        };
        let oldest = streams
            .iter()
            .enumerate()
            .min_by_key(|(_, stream)| stream.now.touched)
            .map(|(at, _)| at);
        let Some(oldest) = oldest else { return false };
        let gone = streams.swap_remove(oldest);
        if streams.is_empty() {
            self.nodes.remove(node);
        }
        self.most_bytes -= most_bytes(&gone.node, &gone.epoch, gone.room);
        self.count -= 1;
        true
    }

    /// Everything of this class that was accepted is durable now.
    pub fn synced(&mut self, class: Class) {
        let list = self.unsynced.get_mut(place(class));
        for (node, epoch) in list.map(std::mem::take).unwrap_or_default() {
            for stream in self.nodes.get_mut(&node).into_iter().flatten() {
                if stream.class == class && stream.epoch == epoch {
                    stream.synced = Synced::AsItIs;
                }
            }
        }
    }

    /// Nothing was accepted since the last sync.
    pub fn is_synced(&self) -> bool {
        self.unsynced.iter().all(Vec::is_empty)
    }

    /// What may be written down: nothing that a loss of power could take back.
    pub fn stored(&self) -> Vec<StoredStream> {
        self.streams().filter_map(Stream::stored).collect()
    }

    /// Takes over what a checkpoint holds; the bounds may have become lower.
    pub fn restore(bounds: Bounds, stored: Vec<StoredStream>) -> Self {
        let mut dedupe = Self::new(bounds);
        let mut stored: Vec<_> = stored
            .into_iter()
            .filter_map(|stream| Some((Class::parse(&stream.class)?, stream)))
            .collect();
        stored.sort_by_key(|(_, stream)| stream.touched);
        for (class, stream) in stored {
            dedupe.clock = dedupe.clock.max(stream.touched);
            dedupe.make_room(&stream.node);
            let gaps = stream.gaps.as_chunks::<2>().0;
            dedupe.insert(Stream {
                node: stream.node,
                epoch: stream.epoch,
                class,
                now: Progress {
                    first_seq: stream.first_seq,
                    watermark: stream.watermark,
                    missing: stream.missing,
                    gaps: gaps.iter().map(|[from, to]| (*from, *to)).collect(),
                    touched: stream.touched,
                },
                synced: Synced::AsItIs,
                room: gaps.len().max(MAX_GAPS),
            });
        }
        dedupe
    }

    /// Every stream.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.nodes.values().flatten()
    }

    /// Streams that were forgotten since the start.
    pub const fn forgotten(&self) -> Forgotten {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message as _;

    fn id_of(node: &str, epoch: u64, seq: u64) -> RecordId {
        RecordId {
            node: node.into(),
            epoch: format!("{epoch:032x}"),
            class: Class::Security,
            seq,
        }
    }

    fn id(seq: u64) -> RecordId {
        id_of("n", 1, seq)
    }

    fn written(dedupe: &Dedupe) -> usize {
        dedupe
            .stored()
            .iter()
            .map(|stream| stream.encoded_len() + 8)
            .sum()
    }

    proptest! {
        /// Whatever is sent again or left out: each number is accepted once at most, and what is
        /// missing is exactly what never came.
        #[test]
        fn once_each_and_gaps_exact(seqs in prop::collection::vec(1u64..40, 1..60)) {
            let mut dedupe = Dedupe::default();
            let mut accepted = std::collections::BTreeSet::new();
            for seq in seqs {
                if dedupe.judge(&id(seq)) != Verdict::Repeat {
                    prop_assert!(accepted.insert(seq));
                }
                dedupe.accept(&id(seq));
            }
            let stream = dedupe.streams().next().unwrap();
            let span = stream.watermark() - stream.first_seq() + 1;
            prop_assert_eq!(span, accepted.len() as u64 + stream.missing());
            let gaps: u64 = stream.gaps().iter().map(|(from, to)| to - from + 1).sum();
            prop_assert_eq!(gaps, stream.missing());
        }

        /// A checkpoint is the state of the last sync, and never longer than was reckoned.
        #[test]
        fn a_checkpoint_is_the_last_sync(steps in prop::collection::vec((0u64..3, any::<u64>(), any::<bool>()), 1..80)) {
            let mut dedupe = Dedupe::default();
            let mut at_sync = dedupe.clone();
            for (epoch, seq, sync) in steps {
                dedupe.accept(&id_of("n", epoch, seq.max(1)));
                if sync {
                    dedupe.synced(Class::Security);
                    at_sync = dedupe.clone();
                }
                let mut stored = dedupe.stored();
                let mut expected = at_sync.stored();
                // A repeat changes the order of silence and nothing else.
                stored.iter_mut().chain(&mut expected).for_each(|stream| stream.touched = 0);
                prop_assert_eq!(stored, expected);
                prop_assert!(written(&dedupe) <= dedupe.most_bytes_with(&id_of("n", epoch, 1)));
            }
            let again = Dedupe::restore(Bounds::default(), at_sync.stored());
            prop_assert_eq!(again.stored().len(), at_sync.stored().len());
            for stream in at_sync.streams() {
                prop_assert!(again.streams().any(|other| other == stream));
            }
        }
    }

    #[test]
    fn what_a_torn_write_took_is_new_when_it_comes_again() {
        let mut dedupe = Dedupe::default();
        for seq in (2..2000).step_by(2) {
            dedupe.accept_found(&id(seq));
        }
        for seq in 1..2000 {
            let expected = if seq % 2 == 0 {
                Verdict::Repeat
            } else if seq == 1999 {
                Verdict::Next
            } else {
                Verdict::Late
            };
            assert_eq!(dedupe.judge(&id(seq)), expected, "{seq}");
            dedupe.accept(&id(seq));
        }
        let stream = dedupe.streams().next().unwrap();
        assert_eq!((stream.first_seq(), stream.missing()), (1, 0));
    }

    #[test]
    fn gaps_that_are_named_are_bounded() {
        let mut dedupe = Dedupe::default();
        for seq in [1, 1_000_000]
            .into_iter()
            .chain((3..2000).step_by(2))
            .chain((1_000_002..1_002_000).step_by(2))
        {
            dedupe.accept(&id(seq));
        }
        let stream = dedupe.streams().next().unwrap();
        assert_eq!(stream.gaps().len(), MAX_GAPS);
        assert!(stream.missing() > 990_000);
    }

    #[test]
    fn the_highest_number_there_is_ends_a_stream_without_overflow() {
        let mut dedupe = Dedupe::default();
        for seq in [1, u64::MAX, 2, u64::MAX] {
            dedupe.accept(&id(seq));
        }
        assert_eq!(dedupe.judge(&id(u64::MAX)), Verdict::Repeat);
        assert_eq!(dedupe.streams().next().unwrap().missing(), u64::MAX - 3);
    }

    #[test]
    fn one_node_cannot_crowd_out_the_rest() {
        let mut dedupe = Dedupe::new(Bounds { node: 4, total: 10 });
        for node in ["a", "b", "c", OWN_NODE] {
            dedupe.accept(&id_of(node, 1, 7));
        }
        for epoch in 2..1000 {
            dedupe.accept(&id_of("bad", epoch, 1));
        }
        for node in ["a", "b", "c", OWN_NODE] {
            assert_eq!(dedupe.judge(&id_of(node, 1, 7)), Verdict::Repeat, "{node}");
        }
        assert_eq!(dedupe.judge(&id_of("bad", 999, 1)), Verdict::Repeat);
        let own = Forgotten {
            node: 998 - 4,
            total: 0,
        };
        assert_eq!(dedupe.forgotten(), own);
        // At the bound of all, those with the most lose first.
        for node in ["d", "e", "f"] {
            dedupe.accept(&id_of(node, 1, 7));
        }
        assert_eq!(dedupe.forgotten(), Forgotten { total: 1, ..own });
        for node in ["a", "b", "c", "d", "e", "f", OWN_NODE] {
            assert_eq!(dedupe.judge(&id_of(node, 1, 7)), Verdict::Repeat, "{node}");
        }
        assert_eq!(dedupe.streams().count(), 10);
    }
}
