//! The receiver's guard: who sends, and whether it is that sender's turn. Before a byte of a message is
//! looked at, so that strangers cost no memory.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use plimsoll_wire::retry;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::Counts;
use super::accept::Peer;
use super::auth::Tokens;
use super::rate::{Booked, Rates};
use super::review::{Failure, Reviews};
use super::room::Taken;
use super::service::{Node, Refused};
use crate::cluster::memo::Clock;
use crate::cluster::shares::Spent;
use crate::cluster::token;

/// See the module.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) counts: Arc<Counts>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) reviews: Option<Arc<Reviews>>,
    pub(super) rates: Rates,
    pub(super) clock: Clock,
    /// Room that is set aside for a request.
    pub(super) longest: usize,
    /// Addresses that were told to have no token, and nodes that were told to send too much.
    pub(super) refused: Arc<Refused>,
    /// Told of each node that is sent away.
    pub(super) excuse: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Guard {
    /// Whose request it is, and what it holds while it is worked on.
    async fn admit(&self, parts: &http::request::Parts) -> Result<(Node, Taken, Booked), Status> {
        let peer = parts.extensions.get::<Peer>();
        let address = peer.map(|peer| peer.address);
        let header = parts.headers.get(http::header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        let node = self.node_of(header, address).await?;
        if let Some(peer) = peer {
            peer.is_known();
        }
        if let Err(wait) = self.rates.take(&node, self.now()) {
            self.counts.refuse("rate");
            (self.excuse)(&node);
            let message = "this node sends more than it may";
            return Err(later(Code::ResourceExhausted, message, wait));
        }
        let Some(room) = self.counts.room.take(&node, self.longest) else {
            self.counts.refuse("no_room");
            (self.excuse)(&node);
            // A code that the agent answers by sending again, later.
            return Err(Status::unavailable("too many requests are in hand"));
        };
        let booked = Booked {
            rates: self.rates.clone(),
            node: node.clone(),
        };
        Ok((Node(node), room, booked))
    }

    fn now(&self) -> Instant {
        (self.clock)()
    }

    async fn node_of(
        &self,
        header: Option<&str>,
        peer: Option<SocketAddr>,
    ) -> Result<String, Status> {
        if let Some(node) = self.tokens.node_of(header) {
            return Ok(node);
        }
        let token = header.and_then(token::bearer);
        let (Some(reviews), Some(token)) = (&self.reviews, token) else {
            return Err(self.refuse(peer, "no known bearer token"));
        };
        let from = peer.map(|peer| peer.ip());
        match reviews.node_of(token, from, &self.counts).await {
            Ok(node) => Ok(node),
            Err(Failure::Refused(why)) => Err(self.refuse(peer, &why.to_string())),
            // The log says why. A code that the agent answers by keeping its records.
            Err(Failure::Unavailable(_)) => {
                self.counts.refuse("review_unavailable");
                let message = "the API server does not say now whose token it is";
                Err(Status::unavailable(message))
            }
            Err(Failure::Spent(Spent(wait))) => {
                self.counts.refuse("too_many_reviews_of_peer");
                let message = "too many tokens of this address are asked about";
                Err(later(Code::Unavailable, message, wait))
            }
            Err(why @ Failure::UnknownPod(_)) => {
                self.counts.refuse("review_unavailable");
                Err(Status::unavailable(why.to_string()))
            }
        }
    }

    /// The sender is told no more than that: whoever guesses learns nothing.
    fn refuse(&self, peer: Option<SocketAddr>, why: &str) -> Status {
        self.counts.refuse("unauthenticated");
        if let Some(peer) = peer.filter(|peer| self.refused.is_new(*peer)) {
            tracing::warn!(%peer, why, "refused: no known bearer token (said once for this address)");
        }
        Status::unauthenticated("no known bearer token")
    }
}

/// It is not this sender's turn, and it keeps its records for so long.
fn later(code: Code, why: &str, wait: Duration) -> Status {
    let message = format!("{why}; again in {:.1} s", wait.as_secs_f64());
    let details = retry::details(code as i32, &message, wait).into();
    Status::with_details(code, message, details)
}

/// A service behind the guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    pub(super) guard: Guard,
    pub(super) service: S,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // All that is behind it is ready at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { guard, mut service } = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match guard.admit(&parts).await {
                Ok((node, room, booked)) => {
                    parts.extensions.insert(node);
                    parts.extensions.insert(room);
                    parts.extensions.insert(booked);
                    service.call(http::Request::from_parts(parts, body)).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
