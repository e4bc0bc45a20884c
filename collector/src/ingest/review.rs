//! Which node a service account's token stands for, as the API server says.
//!
//! One question for each token, however many requests come with it at a time. What is remembered is the
//! token's hash and the answer; what was taken counts for [`TAKEN_FOR`] at the most and never beyond the
//! token's own end, what was refused for [`REFUSED_FOR`]. Knows no files, see [`auth`](super::auth).

use std::time::Duration;

use super::Counts;
use super::auth::Hash;
use super::placed::Pods;
use crate::cluster::memo::{Clock, Full, Memo};
use crate::cluster::token::{self, Refused, Sender};
use crate::cluster::{Reviewer, Unavailable};

/// For how long an accepted token counts.
pub const TAKEN_FOR: Duration = Duration::from_mins(1);
/// Of a token whose end cannot be read.
const ENDLESS_FOR: Duration = Duration::from_secs(5);
/// For how long a refusal counts.
pub const REFUSED_FOR: Duration = Duration::from_secs(5);
/// For how long it counts that there was no answer: those who wait for it do not each wait anew.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);
/// Tokens whose answers are remembered: those of 4,000 nodes, a new one beside the old.
pub const MAX_REMEMBERED: usize = 8192;

/// Why nothing comes in with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It counts for nothing.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Whether it does is not known.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The pod that it is bound to is not in the inventory.
    #[error("on which node the pod {0} is, which the token is bound to, is not known yet")]
    UnknownPod(String),
}

/// Who may send.
#[derive(Clone, Debug)]
pub struct Senders {
    /// Audience of their tokens.
    pub audience: String,
    /// Each as `NAMESPACE/NAME`.
    pub service_accounts: Vec<String>,
}

/// See the module.
pub struct Reviews {
    senders: Senders,
    reviewer: Reviewer,
    pods: Pods,
    known: Memo<Hash, Result<String, Failure>>,
    /// Unix seconds.
    now_unix_s: fn() -> u64,
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews")
            .field("senders", &self.senders)
            .finish_non_exhaustive()
    }
}

impl Reviews {
    /// Asks the reviewer; `pods` names the node of a pod for API servers that do not.
    pub fn new(
        senders: Senders,
        reviewer: Reviewer,
        pods: Pods,
        clock: Clock,
        now_unix_s: fn() -> u64,
    ) -> Self {
        Self {
            senders,
            reviewer,
            pods,
            known: Memo::new(MAX_REMEMBERED, clock),
            now_unix_s,
        }
    }

    /// The node that the token stands for.
    pub(super) async fn node_of(&self, token: &str, counts: &Counts) -> Result<String, Failure> {
        let asked = token::prepare(token, Some(&self.senders.audience))?;
        let ask = async {
            let answer = self.reviewer.token(&asked).await;
            let judged = answer.map_err(Failure::from).and_then(|answer| {
                let user = token::interpret(&answer, Some(&self.senders.audience))?;
                self.node(token::sender(&user, &self.senders.service_accounts)?)
            });
            counts.note_review(match &judged {
                Ok(_) => "accepted",
                Err(Failure::Refused(_)) => "refused",
                Err(_) => "unavailable",
            });
            let lasts = self.lasts(token, &judged);
            (judged, lasts)
        };
        let found = self.known.get(&Hash::of(token), ask).await;
        counts.note_remembered(self.known.len());
        found.unwrap_or_else(|Full| Err(Unavailable::Full.into()))
    }

    fn node(&self, sender: Sender) -> Result<String, Failure> {
        match sender {
            Sender::Node(node) => Ok(node),
            Sender::Pod(uid) => self.pods.node_of(&uid).ok_or(Failure::UnknownPod(uid)),
        }
    }

    fn lasts(&self, token: &str, judged: &Result<String, Failure>) -> Duration {
        match judged {
            Ok(_) => token::expires_unix_s(token).map_or(ENDLESS_FOR, |end| {
                Duration::from_secs(end.saturating_sub((self.now_unix_s)())).min(TAKEN_FOR)
            }),
            Err(Failure::Refused(_)) => REFUSED_FOR,
            Err(_) => UNAVAILABLE_FOR,
        }
    }

    /// Why the API server does not answer.
    pub fn trouble(&self) -> Option<String> {
        self.reviewer.trouble()
    }
}

#[cfg(test)]
mod tests;
