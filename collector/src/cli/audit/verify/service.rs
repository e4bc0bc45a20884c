#![expect(
    clippy::disallowed_methods,
    reason = "shell: a runtime for AWS's client, the clock, and waits"
)]
//! The calls to CloudWatch Logs that read, by AWS's own client: each tried again while what keeps it from being
//! answered goes by.

use std::io::Write;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::config::retry::RetryConfig;
use aws_sdk_cloudwatchlogs::config::timeout::TimeoutConfig;
use tokio::runtime::Runtime;

use super::super::arguments::CloudWatchArgs;
use super::cloudwatch::{Failed, Logged, Page, Service};
use crate::api;
use crate::sinks::RefusalKind;
use crate::sinks::backoff::Backoff;
use crate::sinks::cloudwatch::client::answer;
use crate::sinks::cloudwatch::interpret::{Answer, Cause, Failure};

/// How long a call may take.
const CALL_TIME: Duration = Duration::from_secs(30);
/// Attempts of one call in a row: with the waits between them up to a minute and a half.
const ATTEMPTS: u32 = 10;
/// Between two words of how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Aws<'a> {
    runtime: Runtime,
    client: Client,
    args: &'a CloudWatchArgs,
    group: &'a str,
    err: &'a mut dyn Write,
    told: Instant,
}

impl<'a> Aws<'a> {
    /// With the default chain of credentials; asks nobody but for those.
    pub(super) fn new(
        args: &'a CloudWatchArgs,
        group: &'a str,
        err: &'a mut dyn Write,
    ) -> Result<Self, Failed> {
        let failed = |what: &str| Failed {
            what: what.to_owned(),
            source: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failed {
            what: "begin to ask CloudWatch Logs".to_owned(),
            source: Some(error.into()),
        })?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &args.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &args.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &args.endpoint_url {
            loader = loader.endpoint_url(endpoint);
        }
        let times = TimeoutConfig::builder().operation_timeout(CALL_TIME);
        let loader = loader
            .retry_config(RetryConfig::disabled())
            .timeout_config(times.build());
        let aws = runtime.block_on(loader.load());
        if aws.region().is_none() {
            return Err(failed(
                "there is no Region: give --region, or AWS_REGION, or one in the profile",
            ));
        }
        Ok(Self {
            client: Client::new(&aws),
            runtime,
            args,
            group,
            err,
            told: Instant::now(),
        })
    }

    /// Tries a call until it is done, or will not be.
    fn call<T>(
        &mut self,
        action: &str,
        of: &str,
        attempt: impl Fn(&Self) -> Answer<T>,
    ) -> Result<T, Failed> {
        let mut backoff = Backoff::default();
        for left in (0..ATTEMPTS).rev() {
            let failure = match attempt(self) {
                Answer::Done(done) => return Ok(done),
                Answer::Unreadable(source) => (RefusalKind::Unavailable, None, source),
                Answer::Failed(failure) => match failure.cause() {
                    Cause::Refusal(kind) => (kind, failure.retry_after_ms, failure.source),
                    _ => return Err(self.refused(action, of, failure)),
                },
            };
            let (kind, retry_after_ms, source) = failure;
            if !kind.is_passing() || left == 0 {
                return Err(Failed {
                    what: format!("{action} of {of}: {}", advice(kind, action)),
                    source: Some(source),
                });
            }
            self.wait(backoff.wait_ms(kind, retry_after_ms, fastrand::u64(..)));
        }
        Err(Failed {
            what: format!("{action} of {of}"),
            source: None,
        })
    }

    fn refused(&self, action: &str, of: &str, failure: Failure) -> Failed {
        let said = failure.message.unwrap_or_default();
        Failed {
            what: format!("{action} of {of} in {}: {said}", self.group),
            source: Some(failure.source),
        }
    }
}

/// What an operator can do.
fn advice(kind: RefusalKind, action: &str) -> String {
    match kind {
        RefusalKind::Denied => {
            format!("not permitted: the credentials need {action} (and logs:Unmask with --unmask)")
        }
        RefusalKind::Credentials => {
            "no credentials that count: give AWS_PROFILE, --profile or a role".to_owned()
        }
        RefusalKind::Key => "the group's KMS key cannot be used".to_owned(),
        kind if kind.is_passing() => "no answer, tried again and again".to_owned(),
        _ => "refused".to_owned(),
    }
}

impl Service for Aws<'_> {
    fn streams(
        &mut self,
        prefix: Option<&str>,
        token: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Failed> {
        let group = self.group;
        let found = self.call("logs:DescribeLogStreams", group, |aws| {
            let call = aws.client.describe_log_streams().log_group_name(group);
            let call = call.set_log_stream_name_prefix(prefix.map(str::to_owned));
            let call = call.set_next_token(token.map(str::to_owned));
            whole(answer(aws.runtime.block_on(call.send())), |found| {
                found.log_streams.is_some()
            })
        })?;
        let streams = found.log_streams.into_iter().flatten();
        let names = streams.filter_map(|stream| stream.log_stream_name);
        Ok((names.collect(), found.next_token))
    }

    fn events(
        &mut self,
        stream: &str,
        token: Option<&str>,
        from_ms: Option<i64>,
    ) -> Result<Page, Failed> {
        let (group, unmask) = (self.group, self.args.unmask.then_some(true));
        let page = self.call("logs:GetLogEvents", stream, |aws| {
            let call = aws.client.get_log_events().log_group_name(group);
            let call = call.log_stream_name(stream).start_from_head(true);
            let call = call.set_next_token(token.map(str::to_owned));
            let call = call.set_start_time(from_ms).set_unmask(unmask);
            whole(answer(aws.runtime.block_on(call.send())), |page| {
                page.next_forward_token.is_some() && page.events.is_some()
            })
        })?;
        let events = page.events.into_iter().flatten();
        let events = events.map(|event| Logged {
            message: event.message.unwrap_or_default(),
            timestamp_ms: event.timestamp.unwrap_or_default(),
            ingestion_ms: event.ingestion_time.unwrap_or_default(),
        });
        Ok(Page {
            events: events.collect(),
            next: page.next_forward_token.unwrap_or_default(),
        })
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(api::unix_ns() / 1_000_000).unwrap_or(i64::MAX)
    }

    fn wait(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        // Nobody is left to tell if this fails.
        let _ignored: std::io::Result<()> = writeln!(self.err, "plimsoll: {what}");
    }

    fn progress(&mut self, events: u64, stream: &str) {
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            self.tell(format_args!("{events} events read, now {stream}"));
        }
    }
}

/// An answer without what each answer has (an empty body is one for the client) is none.
fn whole<T>(answer: Answer<T>, is_whole: impl Fn(&T) -> bool) -> Answer<T> {
    match answer {
        Answer::Done(done) if !is_whole(&done) => {
            Answer::Unreadable("the answer has not what it should have".into())
        }
        answer => answer,
    }
}
