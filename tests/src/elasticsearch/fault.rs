//! How the node misbehaves. Faults are met in the order in which they were scripted, one for a call.

use super::Elasticsearch;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is served as it should be; keeps the place of a call that goes well.
    None,
    /// 429 as a whole: no room for another call.
    Busy,
    /// 503 as a whole, as by a node that begins.
    Unavailable,
    /// 500 as a whole.
    Internal,
    /// 502 with a page, by something that stands before it.
    BadGateway,
    /// 307 to somewhere else.
    Redirect,
    /// The connection ends without an answer; nothing is stored.
    CutBefore,
    /// The connection ends without an answer; it was stored.
    CutAfter,
    /// It is stored; the answer is 200 with a page.
    UnusableBody,
    /// Each second document is refused with 429, the others are stored.
    HalfBusy,
    /// Each second document is refused with 503, the others are stored.
    HalfUnavailable,
    /// It is stored; the answer tells of one document less.
    OneLess,
    /// It is stored; the answer tells of one document twice.
    OneMore,
    /// It is stored; the answer tells of the documents in another order.
    Turned,
    /// Nothing is stored, and the answer says that nothing is wrong and tells of nothing.
    Lie,
}

impl Fault {
    /// What is answered in place of serving it: status, kind of the error.
    pub(super) fn canned(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Busy => Some((429, "es_rejected_execution_exception")),
            Self::Unavailable => Some((503, "no_shard_available_action_exception")),
            Self::Internal => Some((500, "exception")),
            _ => None,
        }
    }

    /// The same of every second document.
    pub(super) fn of_half(self) -> Option<(u16, &'static str)> {
        match self {
            Self::HalfBusy => Some((429, "es_rejected_execution_exception")),
            Self::HalfUnavailable => Some((503, "unavailable_shards_exception")),
            _ => None,
        }
    }
}

/// Those that pass by themselves.
const PASSING: [Fault; 12] = [
    Fault::Busy,
    Fault::Unavailable,
    Fault::Internal,
    Fault::BadGateway,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::UnusableBody,
    Fault::HalfBusy,
    Fault::HalfUnavailable,
    Fault::OneLess,
    Fault::Turned,
    Fault::Lie,
];

impl Elasticsearch {
    /// Something goes wrong with the next calls, and passes.
    pub fn trouble(&self, dice: &mut fastrand::Rng) {
        let fault = dice.choice(PASSING).unwrap_or(Fault::None);
        self.fail(fault, dice.usize(1..3));
    }
}
