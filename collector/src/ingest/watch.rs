//! Which agents are heard, and which are not any more: a heartbeat comes each ten seconds, and who missed two of them
//! is silent. And whose numbers go back: a spool that was put back to what it was before. Pure.
//!
//! ```text
//!  going ── two heartbeats missed ─► silent: told once ── heard ─► back: told ─► going
//!    └ says that it ends ─► ended ── its node is there, and it is not heard for long ─► silent
//!                     silent, and its node is there no more ─► left: told, and forgotten
//! ```
//!
//! Time is that in which the collector ran and took requests: while it was stopped, or its clock was put on, no agent
//! was silent. Does not know what says whether a node is there, nor how what is told gets into the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll_wire::event::{AgentNotice, AgentState};
use plimsoll_wire::{AuditEvent, RecordId};
use prost::Message;

use super::decode::Sign;
use super::dedupe::OWN_NODE;

const SECOND_NS: u64 = 1_000_000_000;
/// An agent that was not heard for so long is silent: two heartbeats, and what one may be late.
pub const SILENT_NS: u64 = 23 * SECOND_NS;
/// For so long nobody is silent whom the collector itself kept away, or who has to find it again after its start: the
/// longest that an agent waits before it comes again.
const EXCUSED_NS: u64 = 60 * SECOND_NS;
/// One that said that it ends may be away for so long, if its node stays: an image is pulled, a node starts anew.
const ENDED_NS: u64 = 600 * SECOND_NS;
/// One of whose node nobody knows whether it is there is forgotten after so long.
const KEPT_NS: u64 = 24 * 3600 * SECOND_NS;
/// Looks come each second. What lies between two of them counts as no more than this: the process was not running.
const STEP_NS: u64 = 5 * SECOND_NS;
/// A record that comes again was made before the newest. By so much clocks are set when they are set right.
const CLOCK_NS: u64 = 5 * SECOND_NS;
/// Between two words about numbers that go back, of one node.
const REWOUND_EVERY_NS: u64 = 3600 * SECOND_NS;
/// Agents that are watched.
pub const MAX_AGENTS: usize = 10_000;
/// The most bytes of an agent in a checkpoint besides its names: three numbers, a state, tags and lengths.
const AGENT_BYTES: usize = 64;

/// How it stands with an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Going,
    Ended,
    Silent,
}

/// As it is written down.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredAgent {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(string, tag = "2")]
    epoch: String,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(uint64, tag = "4")]
    heard_unix_ns: u64,
    #[prost(uint64, tag = "5")]
    newest_unix_ns: u64,
    /// 1 ended, 2 silent.
    #[prost(uint32, tag = "6")]
    standing: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Agent {
    epoch: String,
    seq: u64,
    /// By the collector's clock.
    heard_unix_ns: u64,
    /// In the time that the collector ran.
    heard_ns: u64,
    /// Nobody misses it before that time.
    excused_until_ns: u64,
    /// The latest time that a record of this life of its spool has, by the node's own clock.
    newest_unix_ns: u64,
    standing: Standing,
    rewound_ns: Option<u64>,
}

impl Agent {
    fn notice(&self, node: &str, state: AgentState) -> AgentNotice {
        AgentNotice {
            agent_node: node.to_owned(),
            state,
            epoch: self.epoch.clone(),
            last_seq: self.seq,
            heard_unix_ns: self.heard_unix_ns,
            silent_s: None,
            seq: None,
        }
    }

    /// So long nobody has heard it, of the time in which it could have been.
    fn missed_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.heard_ns.max(self.excused_until_ns))
    }
}

/// What the books say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Agents that are heard, or ended.
    pub heard: u64,
    /// Those that are not heard any more.
    pub silent: u64,
    /// How often numbers went back, since the start.
    pub rewound: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watch {
    agents: BTreeMap<String, Agent>,
    /// Time in which the collector ran.
    now_ns: u64,
    looked_unix_ns: Option<u64>,
    /// To be told.
    waiting: VecDeque<AgentNotice>,
    /// By node, what was on record before what is not yet: so it is written down, and a life that is killed between the
    /// two tells it.
    untold: BTreeMap<String, Standing>,
    rewound: u64,
    most_bytes: usize,
}

impl Watch {
    /// What the last life of the collector knew.
    pub(super) fn restore(stored: Vec<StoredAgent>) -> Self {
        let mut watch = Self::default();
        for of in stored.into_iter().take(MAX_AGENTS) {
            let standing = match of.standing {
                1 => Standing::Ended,
                2 => Standing::Silent,
                _ => Standing::Going,
            };
            let agent = Agent {
                epoch: of.epoch,
                seq: of.seq,
                heard_unix_ns: of.heard_unix_ns,
                heard_ns: 0,
                excused_until_ns: EXCUSED_NS,
                newest_unix_ns: of.newest_unix_ns,
                standing,
                rewound_ns: None,
            };
            watch.insert(&of.node, agent);
        }
        watch
    }

    pub(super) fn stored(&self) -> Vec<StoredAgent> {
        let agents = self.agents.iter();
        let stored = agents.map(|(node, agent)| StoredAgent {
            node: node.clone(),
            epoch: agent.epoch.clone(),
            seq: agent.seq,
            heard_unix_ns: agent.heard_unix_ns,
            newest_unix_ns: agent.newest_unix_ns,
            standing: match self.untold.get(node).copied().unwrap_or(agent.standing) {
                Standing::Going => 0,
                Standing::Ended => 1,
                Standing::Silent => 2,
            },
        });
        stored.collect()
    }

    /// The most bytes that all of it can take in a checkpoint, this record's agent included.
    pub(super) fn most_bytes_with(&self, id: &RecordId) -> usize {
        self.most_bytes + most_bytes(&id.node, &id.epoch)
    }

    fn insert(&mut self, node: &str, agent: Agent) {
        self.most_bytes += most_bytes(node, &agent.epoch);
        if let Some(before) = self.agents.insert(node.to_owned(), agent) {
            self.most_bytes -= most_bytes(node, &before.epoch);
        }
    }

    fn forget(&mut self, node: &str) {
        if let Some(agent) = self.agents.remove(node) {
            self.most_bytes -= most_bytes(node, &agent.epoch);
        }
    }

    /// A record that was not there before. `was_known`: its stream was, though it may not be the one heard last.
    pub(super) fn goes_on(&mut self, id: &RecordId, sign: Sign, was_known: bool, now_unix_ns: u64) {
        if id.node == OWN_NODE {
            return;
        }
        let known = self.agents.get(&id.node);
        if known.is_none() && self.agents.len() >= MAX_AGENTS {
            return;
        }
        let is_other = known.is_some_and(|known| known.epoch != id.epoch);
        if is_other && was_known {
            self.rewound(id, now_unix_ns);
        }
        let known = self.agents.get(&id.node);
        let before = known.filter(|known| known.epoch == id.epoch);
        let newest_unix_ns = before.map_or(0, |before| before.newest_unix_ns);
        let agent = Agent {
            epoch: id.epoch.clone(),
            seq: before.map_or(0, |before| before.seq).max(id.seq),
            heard_unix_ns: now_unix_ns,
            heard_ns: self.now_ns,
            excused_until_ns: 0,
            newest_unix_ns: newest_unix_ns.max(sign.time_unix_ns),
            standing: if sign.ends {
                Standing::Ended
            } else {
                Standing::Going
            },
            rewound_ns: known.and_then(|known| known.rewound_ns),
        };
        if let Some(silent) = known.filter(|known| known.standing == Standing::Silent) {
            let away_ns = now_unix_ns.saturating_sub(silent.heard_unix_ns);
            let notice = AgentNotice {
                silent_s: Some(away_ns / SECOND_NS),
                ..silent.notice(&id.node, AgentState::Back)
            };
            self.tell(notice);
        }
        self.insert(&id.node, agent);
    }

    /// A record under a number that was there before. Who sends one again made it before the newest that came; who
    /// makes a new one under an old number has forgotten that it used it.
    pub(super) fn comes_again(&mut self, id: &RecordId, sign: Sign, now_unix_ns: u64) {
        let known = self.agents.get(&id.node);
        let known = known.filter(|known| known.epoch == id.epoch);
        let is_new = known.is_some_and(|known| {
            known.newest_unix_ns > 0
                && sign.time_unix_ns > known.newest_unix_ns.saturating_add(CLOCK_NS)
        });
        if is_new {
            self.rewound(id, now_unix_ns);
        }
    }

    fn rewound(&mut self, id: &RecordId, now_unix_ns: u64) {
        self.rewound += 1;
        let now_ns = self.now_ns;
        let Some(agent) = self.agents.get_mut(&id.node) else {
            return;
        };
        let rests = |told: u64| now_ns.saturating_sub(told) < REWOUND_EVERY_NS;
        if agent.rewound_ns.is_some_and(rests) {
            return;
        }
        agent.rewound_ns = Some(now_ns);
        let notice = AgentNotice {
            seq: Some(id.seq),
            epoch: id.epoch.clone(),
            heard_unix_ns: now_unix_ns,
            ..agent.notice(&id.node, AgentState::Rewound)
        };
        self.tell(notice);
    }

    fn tell(&mut self, notice: AgentNotice) {
        let (node, state) = (&notice.agent_node, notice.state.as_str());
        match notice.state {
            AgentState::Silent | AgentState::Rewound => {
                tracing::warn!(
                    node,
                    epoch = notice.epoch,
                    last_seq = notice.last_seq,
                    "agent: {state}"
                );
            }
            AgentState::Back | AgentState::Left => tracing::info!(node, "agent: {state}"),
        }
        let before = match notice.state {
            AgentState::Silent => Some(Standing::Going),
            AgentState::Back => Some(Standing::Silent),
            AgentState::Left | AgentState::Rewound => None,
        };
        if let Some(before) = before {
            self.untold
                .entry(notice.agent_node.clone())
                .or_insert(before);
        }
        self.waiting.push_back(notice);
    }

    /// A record found in the journal at a start, which the checkpoint does not know; its own time, and when it came.
    pub(super) fn found(
        &mut self,
        id: &RecordId,
        (time_unix_ns, came_unix_ns): (u64, u64),
        event: &AuditEvent,
    ) {
        if id.node != OWN_NODE {
            let sign = Sign::of(time_unix_ns, event);
            self.goes_on(id, sign, false, came_unix_ns);
            if let Some(agent) = self.agents.get_mut(&id.node) {
                agent.excused_until_ns = EXCUSED_NS;
            }
        } else if let AuditEvent::Agent(notice) = event {
            match notice.state {
                AgentState::Silent => {
                    if let Some(agent) = self.agents.get_mut(&notice.agent_node) {
                        agent.standing = Standing::Silent;
                        // What is said when it is back is of this silence.
                        agent.heard_unix_ns = notice.heard_unix_ns;
                    }
                }
                AgentState::Left => self.forget(&notice.agent_node),
                // It is on record.
                AgentState::Back => self.waiting.retain(|of| of.agent_node != notice.agent_node),
                AgentState::Rewound => {}
            }
        }
    }

    /// This collector would not take what the agent of that node sent, or told it to come later.
    pub(super) fn excuse(&mut self, node: &str) {
        if let Some(agent) = self.agents.get_mut(node) {
            agent.excused_until_ns = self.now_ns + EXCUSED_NS;
        }
    }

    /// To be called each second. `is_there` says whether a node is, if that is known.
    pub(super) fn look(&mut self, now_unix_ns: u64, is_there: impl Fn(&str) -> Option<bool>) {
        let before = self.looked_unix_ns.replace(now_unix_ns);
        let step = before.map_or(0, |before| now_unix_ns.saturating_sub(before));
        self.now_ns += step.min(STEP_NS);
        let now_ns = self.now_ns;
        let mut gone = Vec::new();
        let mut silent = Vec::new();
        for (node, agent) in &mut self.agents {
            let missed_ns = agent.missed_ns(now_ns);
            let patience_ns = match agent.standing {
                Standing::Ended => ENDED_NS,
                Standing::Going | Standing::Silent => SILENT_NS,
            };
            if missed_ns < patience_ns {
                continue;
            }
            match (is_there(node), agent.standing) {
                (Some(false), standing) => gone.push((node.clone(), standing)),
                // What said that it ends, and of which nobody says that it should be there, has ended.
                (None, Standing::Ended | Standing::Silent) if missed_ns >= KEPT_NS => {
                    gone.push((node.clone(), Standing::Ended));
                }
                (Some(true), Standing::Ended) | (_, Standing::Going) => {
                    agent.standing = Standing::Silent;
                    let away_ns = now_unix_ns.saturating_sub(agent.heard_unix_ns);
                    silent.push(AgentNotice {
                        silent_s: Some(away_ns / SECOND_NS),
                        ..agent.notice(node, AgentState::Silent)
                    });
                }
                (_, Standing::Silent) | (None, Standing::Ended) => {}
            }
        }
        for notice in silent {
            self.tell(notice);
        }
        for (node, standing) in gone {
            let agent = self.agents.get(&node);
            if let (Some(agent), Standing::Silent) = (agent, standing) {
                self.tell(agent.notice(&node, AgentState::Left));
            }
            self.forget(&node);
        }
    }

    /// What is to be told, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<AgentNotice> {
        std::mem::take(&mut self.waiting)
    }

    /// These could not be told, and are older than what waits. `are_durable`: the others are on record for good.
    pub(super) fn put_back(&mut self, mut notices: VecDeque<AgentNotice>, are_durable: bool) {
        notices.append(&mut self.waiting);
        self.waiting = notices;
        if are_durable {
            let waiting = self.waiting.iter();
            let waiting: BTreeSet<&str> = waiting.map(|of| of.agent_node.as_str()).collect();
            self.untold
                .retain(|node, _| waiting.contains(node.as_str()));
        }
    }

    pub(super) fn books(&self) -> Watched {
        let silent = self.agents.values();
        let silent = silent.filter(|agent| agent.standing == Standing::Silent);
        let silent = silent.count() as u64;
        Watched {
            heard: self.agents.len() as u64 - silent,
            silent,
            rewound: self.rewound,
        }
    }
}

const fn most_bytes(node: &str, epoch: &str) -> usize {
    AGENT_BYTES + node.len() + epoch.len()
}

#[cfg(test)]
mod tests;
