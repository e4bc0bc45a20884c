#![expect(
    clippy::disallowed_methods,
    reason = "shell: asks the API server, has its clock"
)]
//! Asks the API server for reviews: few at a time, within a time, and says once that it does not answer.
//!
//! Knows not what an answer means, see [`token`](super::token) and [`access`](super::access). A token is
//! never written anywhere: neither a question nor what could repeat it is logged.

use std::mem::discriminant;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http;
use k8s_openapi::Resource;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewStatus};
use kube::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::memo::Clock;
use crate::errors;

/// Questions that are on their way at a time; more wait for their turn.
pub const MAX_OPEN: usize = 16;
/// For one question, with the wait for its turn.
const WITHIN: Duration = Duration::from_secs(5);
/// For how long a question without an answer is trouble: senders ask each minute.
const TROUBLE_FOR: Duration = Duration::from_mins(2);

/// The API server gave no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It does not answer in time, or too many others are before us.
    #[error("the API server does not answer in time")]
    Slow,
    /// It says that it cannot, or that we may not ask.
    #[error("the API server answers {code} {reason}")]
    Status {
        /// HTTP status.
        code: u16,
        /// Its word for it, as `Forbidden`.
        reason: String,
    },
    /// It is not there, or does not speak as it should.
    #[error("the API server cannot be asked: {0}")]
    Unreachable(String),
    /// What it says is no review.
    #[error("the API server's answer is no review")]
    Malformed,
    /// So many different questions are open.
    #[error("too many questions to the API server are open")]
    Full,
}

/// See the module. Cheap to clone; clones share their turns.
#[derive(Clone)]
pub struct Reviewer {
    client: Client,
    turns: Arc<Semaphore>,
    /// Of the last question, and when it was asked.
    trouble: Arc<Mutex<Option<(Unavailable, Instant)>>>,
    within: Duration,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").finish_non_exhaustive()
    }
}

impl Reviewer {
    /// Asks with this client, which is to be nobody else's: watches must not delay it.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            turns: Arc::new(Semaphore::new(MAX_OPEN)),
            trouble: Arc::default(),
            within: WITHIN,
        }
    }

    /// With another bound on the time of a question.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn answering_within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// What is said of the token in the question.
    pub async fn token(&self, asked: &TokenReview) -> Result<TokenReviewStatus, Unavailable> {
        match self.in_turn(self.ask(asked)).await? {
            Some(review) => review.status.ok_or(Unavailable::Malformed),
            None => Ok(TokenReviewStatus {
                error: Some("the question is refused as invalid".to_owned()),
                ..TokenReviewStatus::default()
            }),
        }
    }

    /// What is said of the right in the question.
    pub async fn access(
        &self,
        asked: &SubjectAccessReview,
    ) -> Result<SubjectAccessReviewStatus, Unavailable> {
        match self.in_turn(self.ask(asked)).await? {
            Some(review) => review.status.ok_or(Unavailable::Malformed),
            None => Ok(SubjectAccessReviewStatus {
                reason: Some("the question is refused as invalid".to_owned()),
                ..SubjectAccessReviewStatus::default()
            }),
        }
    }

    /// By hand: the client's own way writes an answer that it cannot read, and the token in it, to the log.
    async fn ask<T: Resource + Serialize + DeserializeOwned>(
        &self,
        asked: &T,
    ) -> Result<T, kube::Error> {
        let path = format!("/apis/{}/{}", T::API_VERSION, T::URL_PATH_SEGMENT);
        let body = serde_json::to_vec(asked).map_err(kube::Error::SerdeError)?;
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        let answer = self.client.request_text(request).await?;
        serde_json::from_str(&answer).map_err(kube::Error::SerdeError)
    }

    /// Why the last question got no answer; `None` if it did, or if it was asked so long ago that it says
    /// nothing of now.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let (why, at) = trouble.as_ref()?;
        (at.elapsed() < TROUBLE_FOR).then(|| why.to_string())
    }

    /// The answer; `None` if the question is invalid.
    async fn in_turn<T>(
        &self,
        asking: impl Future<Output = kube::Result<T>>,
    ) -> Result<Option<T>, Unavailable> {
        let in_turn = async {
            let _turn = self.turns.acquire().await.map_err(|_| Unavailable::Full)?;
            asking.await.map(Some).or_else(judge)
        };
        let answered = tokio::time::timeout(self.within, in_turn).await;
        let answered = answered.unwrap_or(Err(Unavailable::Slow));
        self.note(answered.as_ref().err());
        answered
    }

    /// One word for each change.
    fn note(&self, now: Option<&Unavailable>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = now.map(|why| (why.clone(), Instant::now()));
        let before = std::mem::replace(&mut *trouble, noted);
        drop(trouble);
        let before = before.map(|(why, _)| why);
        match (before, now) {
            (Some(_), None) => tracing::info!("the API server answers questions of access again"),
            (before, Some(why)) if before.as_ref().map(discriminant) != Some(discriminant(why)) => {
                tracing::warn!(
                    why = why.to_string(),
                    "nobody new can be let in (said once); what was answered within the last minute counts"
                );
            }
            _ => {}
        }
    }
}

/// Whether an error says that the question is invalid (`None`), or that there is no answer.
fn judge<T>(error: kube::Error) -> Result<Option<T>, Unavailable> {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 422) => Ok(None),
        kube::Error::Api(status) => Err(Unavailable::Status {
            code: status.code,
            reason: status.reason.clone(),
        }),
        kube::Error::SerdeError(_) => Err(Unavailable::Malformed),
        error => Err(Unavailable::Unreachable(errors::chain(&error))),
    }
}

/// The machine's.
pub fn clock() -> Clock {
    Arc::new(Instant::now)
}

#[cfg(test)]
pub(crate) mod tests;
