//! The nodes' last words: of each node the newest heartbeat, and when the collector heard it. Pure.
//!
//! A node that is gone says nothing of it: one that was not heard for a day is let go of, and where there
//! are too many the one that was not heard longest. Clusters that come and go have new names each time.

use std::collections::BTreeMap;

use plimsoll_wire::event::{Heartbeat, StageFates};

use crate::api::accounting::StageRow;

/// Nodes whose heartbeat is kept.
pub const MAX_NODES: usize = 10_000;
/// A node that was not heard for so long is let go of, nanoseconds.
const KEPT_FOR_NS: u64 = 24 * 3600 * 1_000_000_000;
/// How often it is looked for those, nanoseconds.
const LOOK_EVERY_NS: u64 = 60 * 1_000_000_000;
/// How long a sight of two agents counts, nanoseconds: both send several heartbeats in it.
const TWO_AGENTS_FOR_NS: u64 = 15 * 60 * 1_000_000_000;

/// The last word of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// The node.
    pub node: String,
    /// When it said so by its own clock, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// When the collector heard it by its own clock, Unix nanoseconds. Of what an earlier life of the
    /// collector heard, the node's time, and no later than that life.
    pub heard_unix_ns: u64,
    /// What.
    pub heartbeat: Heartbeat,
    /// When it was last seen that two agents send under this name, Unix nanoseconds of the collector's
    /// clock; `None` for never.
    pub two_agents_unix_ns: Option<u64>,
}

impl NodeStatus {
    /// Two agents sent under this name within the last quarter of an hour.
    pub fn has_two_agents(&self, now_unix_ns: u64) -> bool {
        self.two_agents_unix_ns
            .is_some_and(|seen| now_unix_ns.saturating_sub(seen) < TWO_AGENTS_FOR_NS)
    }

    /// Whole seconds since it was heard. Its own clock may be ahead or behind, and says nothing of that.
    pub const fn silent_s(&self, now_unix_ns: u64) -> u64 {
        now_unix_ns.saturating_sub(self.heard_unix_ns) / 1_000_000_000
    }

    /// The stages that it reports, as accounting rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = StageRow> {
        let row = |stage: &StageFates| StageRow {
            node: Some(self.node.clone()),
            stage: stage.stage.clone(),
            class: stage.class.clone(),
            destination: None,
            fates: stage.fates,
        };
        self.heartbeat.stages.iter().map(row)
    }
}

/// A node's last word, and where it stands in the node's stream.
pub(super) struct Beat {
    pub(super) epoch: String,
    pub(super) seq: u64,
    /// The same of the epoch that was heard before this one. A spool that was made anew never sends
    /// under its old epoch again: one that comes back has another agent beside it.
    pub(super) before: Option<(String, u64)>,
    /// When the collector got it, where that is known.
    pub(super) arrived_unix_ns: Option<u64>,
    pub(super) status: NodeStatus,
}

/// See the module.
#[derive(Default)]
pub(super) struct Nodes {
    beats: BTreeMap<String, Beat>,
    /// When it was last looked for those to let go of, by the collector's clock.
    looked_unix_ns: u64,
    let_go: u64,
}

impl Nodes {
    /// By name.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.beats.values().map(|beat| &beat.status)
    }

    /// Nodes that were let go of: not heard for a day, or for longer than any other where there were
    /// too many.
    pub(super) const fn let_go(&self) -> u64 {
        self.let_go
    }

    /// The last word is that with the highest number; a new epoch's is newer than any before. The
    /// node's clock says nothing: it may be set back.
    pub(super) fn hear(&mut self, mut beat: Beat) {
        if let Some(known) = self.beats.get(&beat.status.node) {
            let is_other = known.epoch != beat.epoch;
            let comes_back = known
                .before
                .as_ref()
                .is_some_and(|(epoch, seq)| *epoch == beat.epoch && *seq < beat.seq);
            beat.before = if is_other {
                Some((known.epoch.clone(), known.seq))
            } else {
                known.before.clone()
            };
            let seen = beat.arrived_unix_ns.filter(|_| is_other && comes_back);
            beat.status.two_agents_unix_ns = seen.or(known.status.two_agents_unix_ns);
        }
        let arrived_unix_ns = beat.arrived_unix_ns;
        let known = self.beats.get(&beat.status.node);
        let is_newer = known.is_none_or(|known| known.epoch != beat.epoch || known.seq <= beat.seq);
        if is_newer {
            if known.is_none() {
                self.make_room();
            }
            self.beats.insert(beat.status.node.clone(), beat);
        }
        if let Some(now) = arrived_unix_ns {
            self.let_go_of_silent(now);
        }
    }

    fn make_room(&mut self) {
        if self.beats.len() < MAX_NODES {
            return;
        }
        let heard = |beat: &Beat| beat.status.heard_unix_ns;
        let longest = self.beats.values().min_by_key(|beat| heard(beat));
        if let Some(name) = longest.map(|beat| beat.status.node.clone()) {
            self.beats.remove(&name);
            self.let_go += 1;
        }
    }

    /// As one node is heard: while none is, all of them are shown as silent, however long that is.
    fn let_go_of_silent(&mut self, now_unix_ns: u64) {
        if now_unix_ns.abs_diff(self.looked_unix_ns) < LOOK_EVERY_NS {
            return;
        }
        self.looked_unix_ns = now_unix_ns;
        let before = self.beats.len();
        self.beats
            .retain(|_, beat| now_unix_ns.saturating_sub(beat.status.heard_unix_ns) < KEPT_FOR_NS);
        self.let_go += (before - self.beats.len()) as u64;
    }
}
