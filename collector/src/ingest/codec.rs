//! The one method of each OTLP service, with a codec that weighs a message before it decodes it.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use prost::bytes::Buf as _;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::Counts;
use super::rate::Booked;
use super::room::Taken;
use super::weigh::{Kind, Weight, weigh};

/// `Export` of an OTLP service.
pub(super) trait Export: NamedService + Clone + Send + 'static {
    type Asked: Message + Default + 'static;
    type Answer: Message + 'static;

    /// What is asked, for its weight.
    fn kind() -> &'static Kind;

    fn export(&self, request: Request<Self::Asked>) -> BoxFuture<Response<Self::Answer>, Status>;
}

/// How much a message may be.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) counts: Arc<Counts>,
    /// After decompression.
    pub(super) max_request_bytes: usize,
    pub(super) max_request_records: usize,
}

impl Limits {
    /// Of a message that is there, not decoded yet. Its room becomes what both take.
    fn check(&self, weight: Weight, encoded: usize, room: Option<&Taken>) -> Result<(), Status> {
        if weight.records > self.max_request_records {
            self.counts.refuse("too_many_records");
            // A code that the agent answers with half of the batch.
            return Err(Status::invalid_argument(format!(
                "{} records in a request, at most {} are taken",
                weight.records, self.max_request_records
            )));
        }
        let most = self.counts.room.share_bytes();
        let bytes = weight.bytes.saturating_add(encoded);
        if bytes > most {
            return Err(Status::resource_exhausted(format!(
                "a request that takes {bytes} bytes decoded, at most {most} are taken"
            )));
        }
        if room.is_some_and(|room| !room.resize(bytes)) {
            self.counts.refuse("no_room");
            return Err(Status::unavailable("too many requests are in hand"));
        }
        Ok(())
    }
}

/// A service: its `Export` within limits.
#[derive(Clone)]
pub(super) struct Exports<T> {
    pub(super) method: T,
    pub(super) limits: Limits,
}

impl<T: Export> NamedService for Exports<T> {
    const NAME: &'static str = T::NAME;
}

impl<T: Export> Service<http::Request<Body>> for Exports<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { method, limits } = self.clone();
        Box::pin(async move {
            if request.uri().path().rsplit('/').next() != Some("Export") {
                let only = format!("{} has only Export", T::NAME);
                return Ok(Status::unimplemented(only).into_http());
            }
            let longest = limits.max_request_bytes;
            let codec = Weighing::<T>(Weighed {
                limits,
                room: request.extensions().get::<Taken>().cloned(),
                booked: request.extensions().get::<Booked>().cloned(),
                of: PhantomData,
            });
            // An OpenTelemetry Collector compresses unless told not to. The limit is on what comes out.
            let mut grpc = Grpc::new(codec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(longest);
            Ok(grpc.unary(Unary(method), request).await)
        })
    }
}

struct Unary<T>(T);

impl<T: Export> UnaryService<T::Asked> for Unary<T> {
    type Response = T::Answer;
    type Future = BoxFuture<Response<T::Answer>, Status>;

    fn call(&mut self, request: Request<T::Asked>) -> Self::Future {
        self.0.export(request)
    }
}

struct Weighing<T>(Weighed<T>);

impl<T: Export> Codec for Weighing<T> {
    type Encode = T::Answer;
    type Decode = T::Asked;
    type Encoder = ProstEncoder<T::Answer>;
    type Decoder = Weighed<T>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T::Answer, T::Asked>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Weighed {
            limits: self.0.limits.clone(),
            room: self.0.room.clone(),
            booked: self.0.booked.clone(),
            of: PhantomData,
        }
    }
}

/// Decodes what is within its limits.
struct Weighed<T> {
    limits: Limits,
    room: Option<Taken>,
    booked: Option<Booked>,
    of: PhantomData<fn() -> T>,
}

impl<T: Export> Decoder for Weighed<T> {
    type Item = T::Asked;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T::Asked>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        if let Some(booked) = &self.booked {
            booked.book(bytes.len());
        }
        let weight = weigh(T::kind(), &bytes);
        self.limits.check(weight, bytes.len(), self.room.as_ref())?;
        // The code that gRPC has for it.
        let asked = T::Asked::decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(asked))
    }
}
