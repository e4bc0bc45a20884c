//! The calls to CloudWatch Logs, by AWS's own client: signs, sends, and says what came back. It holds no
//! opinion of the answers, never tries twice, and shows nobody its credentials.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudwatchlogs::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_cloudwatchlogs::config::retry::RetryConfig;
use aws_sdk_cloudwatchlogs::config::{Builder, http::HttpResponse};
use aws_sdk_cloudwatchlogs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo as Info};
use tokio::sync::OnceCell;

use super::interpret::{Answer, Failure, Rejected};
use super::prepare::Batch;
use crate::config::sinks::CloudWatch as Settings;
use crate::sinks::{BoxError, Message};

/// How long a whole call may take, with what it takes to get credentials.
const CALL_TIME: Duration = Duration::from_secs(30);

/// How long it may take to reach the service.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// What came back of PutLogEvents.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer<Rejected>,
    /// When it was given by the service's clock, Unix milliseconds (of a whole second), if it says.
    pub date_unix_ms: Option<i64>,
}

/// The calls that the sink makes.
pub trait Calls {
    /// PutLogEvents.
    fn put(
        &self,
        group: &str,
        stream: &str,
        messages: &[Message],
        batch: &Batch,
    ) -> impl Future<Output = Reply> + Send;

    /// CreateLogStream.
    fn create_stream(&self, group: &str, stream: &str) -> impl Future<Output = Answer<()>> + Send;

    /// CreateLogGroup.
    fn create_group(&self, group: &str) -> impl Future<Output = Answer<()>> + Send;
}

/// AWS's client, made at the first call.
pub struct Client {
    region: Option<String>,
    endpoint: Option<String>,
    made: OnceCell<aws_sdk_cloudwatchlogs::Client>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Neither the settings nor what AWS's tools read (environment, profile, the instance's metadata) say which.
#[derive(Debug, thiserror::Error)]
#[error("there is no Region: give cloudwatch.region of the sink, or AWS_REGION")]
struct NoRegion;

impl Client {
    /// For these settings; asks nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            made: OnceCell::new(),
        }
    }

    /// For these settings, with credentials and perhaps a Region that were found before.
    pub fn with_aws(settings: &Settings, aws: &SdkConfig) -> Self {
        let client = Self::new(settings);
        let config = client.configure(Builder::from(aws));
        let made = aws_sdk_cloudwatchlogs::Client::from_conf(config.build());
        Self {
            made: OnceCell::new_with(Some(made)),
            ..client
        }
    }

    /// The client with the default chain of credentials: environment, profile, web identity (IRSA), container
    /// (EKS Pod Identity, ECS), instance metadata.
    async fn get(&self) -> Result<&aws_sdk_cloudwatchlogs::Client, Failure> {
        self.made
            .get_or_try_init(async || {
                let mut loader = aws_config::defaults(BehaviorVersion::latest());
                if let Some(region) = &self.region {
                    loader = loader.region(Region::new(region.clone()));
                }
                let aws = loader.load().await;
                if aws.region().is_none() {
                    return Err(unsendable("NoRegion", NoRegion.into()));
                }
                let config = self.configure(Builder::from(&aws));
                Ok(aws_sdk_cloudwatchlogs::Client::from_conf(config.build()))
            })
            .await
    }

    /// One call is one attempt: the journal keeps what was refused, and the caller waits.
    fn configure(&self, mut config: Builder) -> Builder {
        if let Some(region) = &self.region {
            config = config.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let times = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIME)
            .operation_timeout(CALL_TIME);
        config
            .retry_config(RetryConfig::disabled())
            .timeout_config(times.build())
    }
}

impl Calls for Client {
    async fn put(&self, group: &str, stream: &str, messages: &[Message], batch: &Batch) -> Reply {
        let heard = Heard::default();
        let answer = self
            .put_events(group, stream, messages, batch, heard.clone())
            .await;
        Reply {
            answer: answer.unwrap_or_else(Answer::Failed),
            date_unix_ms: heard.date_unix_ms(),
        }
    }

    async fn create_stream(&self, group: &str, stream: &str) -> Answer<()> {
        match self.get().await {
            Ok(client) => {
                let call = client.create_log_stream().log_group_name(group);
                answer(call.log_stream_name(stream).send().await.map(drop))
            }
            Err(failure) => Answer::Failed(failure),
        }
    }

    async fn create_group(&self, group: &str) -> Answer<()> {
        match self.get().await {
            Ok(client) => {
                let call = client.create_log_group().log_group_name(group);
                answer(call.send().await.map(drop))
            }
            Err(failure) => Answer::Failed(failure),
        }
    }
}

impl Client {
    async fn put_events(
        &self,
        group: &str,
        stream: &str,
        messages: &[Message],
        batch: &Batch,
        heard: Heard,
    ) -> Result<Answer<Rejected>, Failure> {
        let events: Result<Vec<_>, _> = batch
            .events
            .iter()
            .filter_map(|event| Some((event, messages.get(event.at)?)))
            .map(|(event, message)| {
                InputLogEvent::builder()
                    .timestamp(event.timestamp_ms)
                    .message(&message.text)
                    .build()
            })
            .collect();
        let events = events.map_err(|error| unsendable("BuildError", error.into()))?;
        let call = self.get().await?.put_log_events();
        let call = call.log_group_name(group).log_stream_name(stream);
        let call = call.set_log_events(Some(events));
        let result = call.customize().interceptor(heard).send().await;
        Ok(answer(result.map(|output| {
            let info = output.rejected_log_events_info();
            Rejected {
                too_old_end: info.and_then(Info::too_old_log_event_end_index),
                expired_end: info.and_then(Info::expired_log_event_end_index),
                too_new_start: info.and_then(Info::too_new_log_event_start_index),
            }
        })))
    }
}

/// What is said beside the answer proper: its date. An answer of success that is no JSON object is refused here;
/// the client would take an empty one for a success without rejects.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Option<i64>>>);

impl Heard {
    fn date_unix_ms(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service says that it did it, and sends something else than it should.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no JSON object")]
struct NoObject;

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "Heard"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let date = response.headers().get("date").and_then(unix_ms);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        let body = response.body().bytes().unwrap_or_default();
        if response.status().is_success() && !body.trim_ascii_start().starts_with(b"{") {
            return Err(NoObject.into());
        }
        Ok(())
    }
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
fn unix_ms(date: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    Some(parser.parse_timestamp(date).ok()?.as_millisecond())
}

/// A call that could not even be made.
fn unsendable(code: &str, source: BoxError) -> Failure {
    Failure {
        code: Some(code.to_owned()),
        message: None,
        status: None,
        is_without_credentials: false,
        is_in_doubt: false,
        retry_after_ms: None,
        source,
    }
}

/// What came back, in our words.
pub(crate) fn answer<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Answer<T>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let error = match result {
        Ok(done) => return Answer::Done(done),
        Err(error) => error,
    };
    let raw = error.raw_response();
    if raw.is_some_and(|raw| raw.status().is_success()) {
        return Answer::Unreadable(error.into());
    }
    let status = raw.map(|raw| raw.status().as_u16());
    let is_without_credentials = causes(&error).any(<dyn Error>::is::<CredentialsError>);
    let is_in_doubt = match &error {
        SdkError::TimeoutError(_) => true,
        // Without a limit for reading, only the connection can have timed out.
        SdkError::DispatchFailure(failure) => {
            !failure.is_timeout() && !is_without_credentials && !is_refused(&error)
        }
        _ => status.is_some_and(|status| status >= 500),
    };
    let code = match &error {
        SdkError::ConstructionFailure(_) => Some("ConstructionFailure".to_owned()),
        error => error.code().map(str::to_owned),
    };
    Answer::Failed(Failure {
        code,
        message: error.message().map(short),
        status,
        is_without_credentials,
        is_in_doubt,
        retry_after_ms: raw.and_then(retry_after_ms),
        source: error.into(),
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Nobody listens: nothing was sent.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// How long to stay away, if the answer says so in seconds.
fn retry_after_ms(raw: &HttpResponse) -> Option<u64> {
    let seconds: u64 = raw.headers().get("retry-after")?.trim().parse().ok()?;
    seconds.checked_mul(1000)
}

/// Of what the service says as much as a line of a log has room for: it quotes events.
fn short(text: &str) -> String {
    const BYTES: usize = 500;
    text.get(..text.floor_char_boundary(BYTES))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests;
