//! Asks the API server who somebody is and what they may, each question once in its time, and not more
//! than one asker's share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use sha2::{Digest as _, Sha256};

use super::super::Requests;
use super::super::lines::Lines;
use super::{MAX_NAMESPACES, NAMESPACES_AT_A_TIME};
use crate::cluster::access::{self, Right, Verdict};
use crate::cluster::memo::{Clock, Lasts, Memo};
use crate::cluster::shares::{Part, Share, Shares, Spent};
use crate::cluster::token::{self, Refused, User};
use crate::cluster::{Reviewer, Unavailable};

/// For how long it counts whose a token is, if it does not end sooner.
pub const USER_FOR: Duration = Duration::from_secs(30);
/// For how long a right counts that was given or denied.
pub const RIGHT_FOR: Duration = Duration::from_secs(30);
/// The same of a token that was refused, or whose end cannot be read.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// For how long it counts that there was no answer.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);
/// Tokens whose users are remembered.
const MAX_USERS: usize = 4096;
/// Rights of users that are remembered.
const MAX_RIGHTS: usize = 16_384;

/// Of one address, of the questions about tokens that were not good before; a good one is given back.
pub(super) const OF_ADDRESS: Share = Share {
    open: 4,
    a_minute: 60,
};
/// Of one user, of the questions about rights: both resources in each namespace of the longest list, and
/// some more. So the longest list can be kept fresh by one who looks at it all the time.
pub(super) const OF_USER: Share = Share {
    open: NAMESPACES_AT_A_TIME,
    a_minute: 8200,
};
const _: () = {
    let longest_list = 2 * MAX_NAMESPACES as u64;
    assert!(OF_USER.a_minute as u64 > longest_list * 60 / RIGHT_FOR.as_secs());
};

pub(super) type Hash = [u8; 32];

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// Whom its certificate names, if it shows one.
    pub holder: Option<Holder>,
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The user.
    pub user: Arc<User>,
    /// The last second in which it counts, Unix seconds. The handshake has looked at that; the connection may
    /// last longer.
    pub until_unix_s: u64,
}

/// See the module.
pub struct Rules {
    reviewer: Reviewer,
    pub(super) clock: Clock,
    now_unix_s: fn() -> u64,
    users: Memo<Hash, Result<Arc<User>, Stranger>>,
    rights: Memo<(Hash, Right), Result<Verdict, NoVerdict>>,
    of_addresses: Shares<IpAddr>,
    /// By the hash of a user's name: a new token makes nobody another one.
    pub(super) of_users: Shares<Hash>,
    pub(super) denials: Lines,
    pub(super) strangers: Lines,
    pub(super) undecided: Lines,
    pub(super) requests: Arc<Requests>,
}

/// Why nobody is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    #[error("nothing was shown")]
    Nothing,
    #[error("the certificate that was shown has ended")]
    Ended,
    #[error("the authorization header holds no bearer token")]
    NoBearer,
    #[error("token: {0}")]
    Refused(Refused),
    #[error(transparent)]
    Unavailable(Unavailable),
    #[error("of tokens from this address: {0}")]
    Spent(Spent),
}

/// Why it is not known what somebody may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoVerdict {
    #[error(transparent)]
    Unavailable(Unavailable),
    #[error("of rights of this user: {0}")]
    Spent(Spent),
}

impl Rules {
    /// Rules that the API server is asked for.
    pub fn new(
        reviewer: Reviewer,
        clock: Clock,
        now_unix_s: fn() -> u64,
        requests: Arc<Requests>,
    ) -> Self {
        Self {
            reviewer,
            now_unix_s,
            users: Memo::new(MAX_USERS, Arc::clone(&clock)),
            rights: Memo::new(MAX_RIGHTS, Arc::clone(&clock)),
            of_addresses: Shares::new(OF_ADDRESS, Arc::clone(&clock)),
            of_users: Shares::new(OF_USER, Arc::clone(&clock)),
            clock,
            denials: Lines::default(),
            strangers: Lines::default(),
            undecided: Lines::default(),
            requests,
        }
    }

    /// A token counts before a certificate: it was put there on purpose.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        client: Option<&Client>,
    ) -> Result<Arc<User>, Stranger> {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let Some(header) = shown.next() else {
            let holder = client.and_then(|client| client.holder.as_ref());
            let holder = holder.ok_or(Stranger::Nothing)?;
            if (self.now_unix_s)() > holder.until_unix_s {
                return Err(Stranger::Ended);
            }
            return Ok(Arc::clone(&holder.user));
        };
        let header = header.to_str().ok().filter(|_| shown.next().is_none());
        let token = header.and_then(token::bearer).ok_or(Stranger::NoBearer)?;
        let asked = token::prepare(token, None).map_err(Stranger::Refused)?;
        let hash = Sha256::digest(token).into();
        let was_good = self.users.last(&hash).is_some_and(|found| found.is_ok());
        let from = client.map(|client| client.address.ip());
        let from = from.filter(|_| !was_good);
        let ask = async {
            let found = self.ask_for(from, &asked).await;
            let lasts = match &found {
                Ok(_) => Lasts::Answer(self.left_of(token)),
                Err(Stranger::Unavailable(_)) => Lasts::NoAnswer(UNAVAILABLE_FOR),
                // Whoever waits for the answer asks from a share of its own.
                Err(Stranger::Spent(_)) => Lasts::NoAnswer(Duration::ZERO),
                Err(_) => Lasts::Answer(REFUSED_FOR),
            };
            (found, lasts)
        };
        let found = self.users.get(&hash, ask).await;
        found.unwrap_or(Err(Stranger::Unavailable(Unavailable::Full)))
    }

    /// Asks from the share of that address, if it is from one.
    async fn ask_for(
        &self,
        from: Option<IpAddr>,
        asked: &TokenReview,
    ) -> Result<Arc<User>, Stranger> {
        let part = from.map(|from| self.of_addresses.take(&from)).transpose();
        let part = part.map_err(Stranger::Spent)?;
        let turn = part.as_ref().map(Part::turn_now).transpose();
        let _turn = turn.map_err(Stranger::Spent)?;
        let found = match self.reviewer.token(asked).await {
            Ok(answer) => token::interpret(&answer, None)
                .map(Arc::new)
                .map_err(Stranger::Refused),
            Err(why) => Err(Stranger::Unavailable(why)),
        };
        if let Some(part) = part.filter(|_| !matches!(found, Err(Stranger::Refused(_)))) {
            part.give_back();
        }
        found
    }

    fn left_of(&self, token: &str) -> Duration {
        token::expires_unix_s(token).map_or(REFUSED_FOR, |end| {
            Duration::from_secs(end.saturating_sub((self.now_unix_s)())).min(USER_FOR)
        })
    }

    /// What a user may; `hash` is that of the user.
    pub(super) async fn verdict(
        &self,
        user: &User,
        hash: Hash,
        right: Right,
    ) -> Result<Verdict, NoVerdict> {
        let asked = access::prepare(user, &right);
        let ask = async {
            let by_name = Sha256::digest(&user.name).into();
            let verdict = self.ask_right(&by_name, &asked).await;
            let lasts = match verdict {
                Ok(_) => Lasts::Answer(RIGHT_FOR),
                // A share that is used up is this user's own: whoever waits for the answer has no other.
                Err(NoVerdict::Unavailable(_) | NoVerdict::Spent(_)) => {
                    Lasts::NoAnswer(UNAVAILABLE_FOR)
                }
            };
            (verdict, lasts)
        };
        let found = self.rights.get(&(hash, right), ask).await;
        self.requests
            .remembered(self.users.len() + self.rights.len());
        found.unwrap_or(Err(NoVerdict::Unavailable(Unavailable::Full)))
    }

    /// Asks from the share of that user, in its turn.
    async fn ask_right(
        &self,
        user: &Hash,
        asked: &SubjectAccessReview,
    ) -> Result<Verdict, NoVerdict> {
        let part = self.of_users.take(user).map_err(NoVerdict::Spent)?;
        let _turn = part.turn().await.map_err(NoVerdict::Spent)?;
        let answer = self.reviewer.access(asked).await;
        let answer = answer.map_err(NoVerdict::Unavailable)?;
        Ok(access::interpret(&answer))
    }

    /// See [`Lines::take`].
    pub(super) fn line(&self, of: &Lines) -> Option<u64> {
        of.take((self.clock)())
    }
}

/// Everything that makes a user another one.
pub(super) fn hash_of(user: &User) -> Hash {
    // Debug texts quote what they hold, so that no two users have the same.
    Sha256::digest(format!("{user:?}")).into()
}
