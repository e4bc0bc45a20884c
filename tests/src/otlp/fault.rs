//! How the receiver misbehaves. Faults are met in the order in which they were scripted, one for a call.

use super::Otlp;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is served as it should be; keeps the place of a call that goes well.
    None,
    /// `RESOURCE_EXHAUSTED` with a time to come again, 429 over HTTP; nothing is stored.
    Busy,
    /// `RESOURCE_EXHAUSTED` without a time, 500 over HTTP; nothing is stored.
    Exhausted,
    /// `UNAVAILABLE`, 503 over HTTP; nothing is stored.
    Unavailable,
    /// `INTERNAL`, 500 over HTTP; nothing is stored.
    Internal,
    /// 502 with a page, by something that stands before it.
    BadGateway,
    /// 307 to somewhere else.
    Redirect,
    /// The call ends without an answer; nothing is stored.
    CutBefore,
    /// The call ends without an answer; it was stored.
    CutAfter,
    /// It is stored; the answer is 200 with a page.
    UnusableBody,
    /// It is stored; more records are said to be rejected than there are.
    Overcount,
    /// It is stored; the answer says something of it all the same.
    Warning,
}

/// How a call is met that has a record in it which is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The others are stored, and the number of those that are not is said.
    Counts,
    /// `INVALID_ARGUMENT`, 400 over HTTP; nothing is stored.
    Refuses,
}

/// Those that pass by themselves.
const PASSING: [Fault; 8] = [
    Fault::Busy,
    Fault::Unavailable,
    Fault::BadGateway,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::UnusableBody,
    Fault::Overcount,
    Fault::Warning,
];

impl Otlp {
    /// Something goes wrong with the next calls, and passes.
    pub fn trouble(&self, dice: &mut fastrand::Rng) {
        let fault = dice.choice(PASSING).unwrap_or(Fault::None);
        self.fail(fault, dice.usize(1..3));
    }
}
