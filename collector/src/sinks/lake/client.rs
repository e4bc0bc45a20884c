//! PutObject, by AWS's own client: signs, sends, and says what came back. It never tries twice, and shows nobody its
//! credentials.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, http::HttpResponse};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::{ByteStream, Length};
use tokio::io::AsyncSeekExt as _;
use tokio::sync::OnceCell;

use super::interpret::refused;
use crate::config::sinks::SecurityLake as Settings;
use crate::sinks::cloudwatch::interpret::Failure;
use crate::sinks::{RefusalKind, Refused};

/// How long it may take to reach the service.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long a whole call may take, with what it takes to get credentials: half a gigabyte at 2 MB a second.
const CALL_TIME: Duration = Duration::from_mins(5);
/// What objects say that they are.
const CONTENT_TYPE: &str = "application/vnd.apache.parquet";
/// The name that a role is taken on under, for CloudTrail.
const SESSION: &str = "plimsoll-collector";

/// An object, ready to be sent.
#[derive(Debug)]
pub struct Object {
    /// Its bytes.
    pub body: Body,
    /// How many.
    pub len: u64,
    /// Their SHA-256 in Base64: S3 computes it again.
    pub sha256: String,
}

/// Where an object's bytes are.
#[derive(Debug)]
pub enum Body {
    /// In a file, from where it is read next.
    File(File),
    /// In memory.
    Bytes(Vec<u8>),
}

/// AWS's client, made at the first call.
pub struct Client {
    settings: Settings,
    made: OnceCell<aws_sdk_s3::Client>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("bucket", &self.settings.bucket)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// For these settings; asks nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            made: OnceCell::new(),
        }
    }

    /// For these settings, with credentials that were found before.
    pub async fn with_aws(settings: &Settings, aws: &SdkConfig) -> Self {
        let client = Self::new(settings);
        let made = client.configure(aws).await;
        Self {
            made: OnceCell::new_with(Some(made)),
            ..client
        }
    }

    /// The client with the default chain of credentials, see CloudWatch's.
    async fn get(&self) -> &aws_sdk_s3::Client {
        self.made
            .get_or_init(async || {
                let region = Region::new(self.settings.region.clone());
                let loader = aws_config::defaults(BehaviorVersion::latest()).region(region);
                self.configure(&loader.load().await).await
            })
            .await
    }

    /// One call is one attempt: the trail keeps what was refused, and the caller waits.
    async fn configure(&self, aws: &SdkConfig) -> aws_sdk_s3::Client {
        let mut config = Builder::from(aws).region(Region::new(self.settings.region.clone()));
        if let Some(arn) = &self.settings.role_arn {
            let mut role = AssumeRoleProvider::builder(arn)
                .configure(aws)
                .session_name(SESSION);
            if let Some(id) = &self.settings.external_id {
                role = role.external_id(id);
            }
            config = config.credentials_provider(role.build().await);
        }
        if let Some(endpoint) = &self.settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let times = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIME)
            .operation_timeout(CALL_TIME);
        let config = config
            .force_path_style(self.settings.path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(times.build());
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Puts an object in the place of whatever has its name.
    ///
    /// # Errors
    /// It is not there, or nobody can say that it is.
    pub async fn put(&self, key: &str, object: &Object) -> Result<(), Refused> {
        let doing = format!("put s3://{}/{key}", self.settings.bucket);
        let body = body(object).await.map_err(|source| Refused {
            kind: RefusalKind::Other,
            what: format!("{doing}: read what is to be sent"),
            source: Some(source.into()),
            retry_after_ms: None,
        })?;
        let call = self.get().await.put_object();
        let call = call.bucket(&self.settings.bucket).key(key).body(body);
        let call = call
            .content_type(CONTENT_TYPE)
            .content_length(i64::try_from(object.len).unwrap_or(i64::MAX))
            .checksum_sha256(&object.sha256);
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(failure(error), &doing)),
        }
    }
}

async fn body(object: &Object) -> io::Result<ByteStream> {
    let file = match &object.body {
        Body::Bytes(bytes) => return Ok(bytes.clone().into()),
        Body::File(file) => file.try_clone()?,
    };
    // It is read to its end by each attempt.
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(0)).await?;
    let body = ByteStream::read_from()
        .file(file)
        .buffer_size(64 << 10)
        .length(Length::Exact(object.len));
    body.build().await.map_err(io::Error::other)
}

/// What came back, in our words.
fn failure(error: SdkError<PutObjectError, HttpResponse>) -> Failure {
    let raw = error.raw_response();
    let retry_after =
        raw.and_then(|raw| raw.headers().get("retry-after")?.trim().parse::<u64>().ok());
    let is_without_credentials = causes(&error).any(<dyn Error>::is::<CredentialsError>);
    Failure {
        code: match &error {
            SdkError::ConstructionFailure(_) => Some("ConstructionFailure".to_owned()),
            error => error.code().map(str::to_owned),
        },
        message: error.message().map(str::to_owned),
        status: raw.map(|raw| raw.status().as_u16()),
        is_without_credentials,
        is_in_doubt: false,
        retry_after_ms: retry_after.and_then(|seconds| seconds.checked_mul(1000)),
        source: error.into(),
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
