//! How the collector misbehaves. Faults are met in the order in which they were scripted, one for a
//! call.

use super::Hec;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is served as it should be; keeps the place of a call that goes well.
    None,
    /// 503, code 9; nothing is stored.
    Busy,
    /// 429 without a body, by something that stands before it.
    TooMany,
    /// 500, code 8; nothing is stored.
    Internal,
    /// 502 with a page, by something that stands before it.
    BadGateway,
    /// 307 to somewhere else.
    Redirect,
    /// The connection ends without an answer; nothing is stored.
    CutBefore,
    /// The connection ends without an answer; it was stored.
    CutAfter,
    /// It is stored; its answer is held until [`super::Hec::release`], or for [`super::HELD_AT_MOST`].
    Held,
    /// It is stored; the answer is 200 with a page.
    UnusableBody,
    /// It is stored, and never acknowledged.
    NeverAcknowledged,
    /// It is taken, and lost before it is stored: never acknowledged.
    LostBehind,
    /// An event is refused as invalid, without its number.
    Unnamed,
}

impl Fault {
    /// What is answered in place of serving it: status, body.
    pub(super) fn canned(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Busy => Some((503, r#"{"text":"Server is busy","code":9}"#)),
            Self::TooMany => Some((429, "")),
            Self::Internal => Some((500, r#"{"text":"Internal server error","code":8}"#)),
            Self::BadGateway => Some((502, "<html><h1>502 Bad Gateway</h1></html>")),
            Self::Redirect => Some((307, "")),
            _ => None,
        }
    }
}

/// Those that pass by themselves.
const PASSING: [Fault; 9] = [
    Fault::Busy,
    Fault::TooMany,
    Fault::Internal,
    Fault::BadGateway,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::UnusableBody,
    Fault::NeverAcknowledged,
    Fault::LostBehind,
];

impl Hec {
    /// Something goes wrong with the next calls, and passes; or it is another Splunk from now on.
    pub fn trouble(&self, dice: &mut fastrand::Rng) {
        match dice.choice(PASSING) {
            Some(fault) if dice.u32(..10) > 0 => self.fail(fault, dice.usize(1..3)),
            _ => self.restart(),
        }
    }
}
