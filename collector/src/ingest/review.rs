//! Which node a service account's token stands for, as the API server says.
//!
//! One question for each token, however many requests come with it at a time. What is remembered is the
//! token's hash and the answer; what was taken counts for [`TAKEN_FOR`] at the most and never beyond the
//! token's own end, what was refused for [`REFUSED_FOR`]. One address has a share of the questions about
//! tokens that were never good: whoever makes tokens up there does not keep other nodes out. Knows no
//! files, see [`auth`](super::auth).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenReview;

use super::Counts;
use super::auth::Hash;
use super::placed::Pods;
use crate::cluster::memo::{Clock, Full, Lasts, Memo};
use crate::cluster::shares::{Part, Share, Shares, Spent};
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
/// Of one address, of the questions about tokens that were not good before. One that is good is given
/// back, so that many nodes may have one address.
const OF_ADDRESS: Share = Share {
    open: 4,
    a_minute: 60,
};

/// Why nothing comes in with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It counts for nothing.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Whether it does is not known.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Too much was asked for the sender's address.
    #[error("of tokens from this address: {0}")]
    Spent(Spent),
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
    addresses: Shares<IpAddr>,
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
            addresses: Shares::new(OF_ADDRESS, Arc::clone(&clock)),
            known: Memo::new(MAX_REMEMBERED, clock),
            now_unix_s,
        }
    }

    /// The node that the token stands for, which was sent from that address.
    pub(super) async fn node_of(
        &self,
        token: &str,
        from: Option<IpAddr>,
        counts: &Counts,
    ) -> Result<String, Failure> {
        let asked = token::prepare(token, Some(&self.senders.audience))?;
        let hash = Hash::of(token);
        let was_good = self.known.last(&hash).is_some_and(|found| found.is_ok());
        let from = from.filter(|_| !was_good);
        let ask = async {
            let judged = self.ask_for(from, &asked).await;
            if let Some(outcome) = outcome(&judged) {
                counts.note_review(outcome);
            }
            let lasts = self.lasts(token, &judged);
            (judged, lasts)
        };
        let found = self.known.get(&hash, ask).await;
        counts.note_remembered(self.known.len());
        found.unwrap_or_else(|Full| Err(Unavailable::Full.into()))
    }

    /// Asks from the share of that address, if it is from one.
    async fn ask_for(&self, from: Option<IpAddr>, asked: &TokenReview) -> Result<String, Failure> {
        let part = from.map(|from| self.addresses.take(&from)).transpose();
        let part = part.map_err(Failure::Spent)?;
        let turn = part.as_ref().map(Part::turn_now).transpose();
        let _turn = turn.map_err(Failure::Spent)?;
        let answer = self.reviewer.token(asked).await;
        let judged = answer.map_err(Failure::from).and_then(|answer| {
            let user = token::interpret(&answer, Some(&self.senders.audience))?;
            self.node(token::sender(&user, &self.senders.service_accounts)?)
        });
        if let Some(part) = part.filter(|_| !matches!(judged, Err(Failure::Refused(_)))) {
            part.give_back();
        }
        judged
    }

    fn node(&self, sender: Sender) -> Result<String, Failure> {
        match sender {
            Sender::Node(node) => Ok(node),
            Sender::Pod(uid) => self.pods.node_of(&uid).ok_or(Failure::UnknownPod(uid)),
        }
    }

    fn lasts(&self, token: &str, judged: &Result<String, Failure>) -> Lasts {
        match judged {
            Ok(_) => Lasts::Answer(token::expires_unix_s(token).map_or(ENDLESS_FOR, |end| {
                Duration::from_secs(end.saturating_sub((self.now_unix_s)())).min(TAKEN_FOR)
            })),
            Err(Failure::Refused(_)) => Lasts::Answer(REFUSED_FOR),
            // Whoever waits for the answer asks from a share of its own.
            Err(Failure::Spent(_)) => Lasts::NoAnswer(Duration::ZERO),
            Err(Failure::Unavailable(_) | Failure::UnknownPod(_)) => {
                Lasts::NoAnswer(UNAVAILABLE_FOR)
            }
        }
    }

    /// Why the API server does not answer.
    pub fn trouble(&self) -> Option<String> {
        self.reviewer.trouble()
    }
}

/// What a question came to, for the metrics; `None` if it was not asked.
const fn outcome(judged: &Result<String, Failure>) -> Option<&'static str> {
    match judged {
        Ok(_) => Some("accepted"),
        Err(Failure::Refused(_)) => Some("refused"),
        Err(Failure::Spent(_)) => None,
        Err(Failure::Unavailable(_) | Failure::UnknownPod(_)) => Some("unavailable"),
    }
}

#[cfg(test)]
mod tests;
