//! Errors of the Kubernetes client in words of our own. Pure.
//!
//! Its own words repeat what it read: lines of a kubeconfig, all that a plugin printed, whole answers. These
//! name the place and the cause, and hold no token.

use std::error::Error;

use kube::client::AuthError;
use kube::config::{InClusterError, KubeconfigError, LoadDataError};
use kube::core::Status;
use kube::runtime::watcher;
use serde_saphyr::Error as Yaml;

/// Characters of an answer's message, or of what a plugin says on standard error.
const MAX_SAID: usize = 300;

/// What is told of an error (nothing, of some), and the cause to go on with.
type Told<'a> = (String, Option<&'a (dyn Error + 'static)>);

/// `None` of an error that is none of the client's.
pub(super) fn told<'a>(error: &'a (dyn Error + 'static)) -> Option<Told<'a>> {
    if let Some(error) = error.downcast_ref::<kube::Error>() {
        Some(of_client(error))
    } else if let Some(error) = error.downcast_ref::<Box<kube::Error>>() {
        Some(of_client(error))
    } else if let Some(error) = error.downcast_ref::<AuthError>() {
        Some(of_user(error))
    } else if let Some(error) = error.downcast_ref::<KubeconfigError>() {
        Some(of_kubeconfig(error))
    } else if let Some(error) = error.downcast_ref::<LoadDataError>() {
        Some(of_data(error))
    } else if let Some(InClusterError::ReadEnvironmentVariable(_)) = error.downcast_ref() {
        let told = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set";
        Some((told.to_owned(), None))
    } else {
        error.downcast_ref::<watcher::Error>().map(of_watch)
    }
}

fn of_client(error: &kube::Error) -> Told<'_> {
    use kube::Error as E;
    match error {
        E::Api(status) => (answered(status), None),
        E::Auth(error) => of_user(error),
        E::InferKubeconfig(error) => of_kubeconfig(error),
        E::Service(error) => (String::new(), Some(error.as_ref())),
        E::HyperError(error) => (String::new(), Some(error)),
        E::UpgradeConnection(error) => (String::new(), Some(error)),
        E::InferConfig(_) => ("no way to an API server is known".to_owned(), None),
        other => (other.to_string(), other.source()),
    }
}

fn of_watch(error: &watcher::Error) -> Told<'_> {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(error) => ("list objects".to_owned(), Some(error)),
        E::WatchStartFailed(error) => ("begin to watch objects".to_owned(), Some(error)),
        E::WatchFailed(error) => ("watch objects".to_owned(), Some(error)),
        E::WatchError(status) => (answered(status), None),
        E::NoResourceVersion => (error.to_string(), None),
    }
}

/// An answer that refuses.
fn answered(status: &Status) -> String {
    let Status {
        code,
        reason,
        message,
        ..
    } = status;
    let begins = match code {
        429 => "the API server is busy and takes no more requests",
        _ => "the API server refused",
    };
    let reason = if reason.is_empty() { "" } else { reason };
    let what = format!("{code} {reason}");
    let message = short(message);
    if message.is_empty() {
        format!("{begins} ({})", what.trim_end())
    } else {
        format!("{begins} ({}): {message}", what.trim_end())
    }
}

/// One line, not too long.
fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SAID).collect()
}

fn of_user(error: &AuthError) -> Told<'_> {
    use AuthError as E;
    match error {
        E::AuthExecStart(error) => ("its plugin cannot be started".to_owned(), Some(error)),
        E::AuthExecRun { out, .. } => {
            let said = short(&String::from_utf8_lossy(&out.stderr));
            let ended = format!("its plugin ended with {}", out.status);
            if said.is_empty() {
                (ended, None)
            } else {
                (format!("{ended} and said: {said}"), None)
            }
        }
        E::AuthExecParse(error) => {
            let why = yaml(error);
            (format!("its plugin printed no ExecCredential: {why}"), None)
        }
        E::ExecPluginFailed => (
            "its plugin printed an ExecCredential without a status".to_owned(),
            None,
        ),
        E::MalformedTokenExpirationDate(_) => (
            "the time at which its token ends is none (RFC 3339)".to_owned(),
            None,
        ),
        E::ReadTokenFile(error, path) => (
            format!("read the token file {}", path.display()),
            Some(error),
        ),
        E::ParseTokenKey(_) => ("its plugin printed no JSON".to_owned(), None),
        E::MissingCommand => ("its plugin has no command".to_owned(), None),
        other => (other.to_string(), other.source()),
    }
}

fn of_kubeconfig(error: &KubeconfigError) -> Told<'_> {
    use KubeconfigError as E;
    let told = match error {
        E::Parse(error) => yaml(error),
        E::ReadConfig(error, _) => return (String::new(), Some(error)),
        E::CurrentContextNotSet => "it has no current-context".to_owned(),
        E::LoadContext(name) => format!("it has no context {name}"),
        E::LoadClusterOfContext(name) => {
            format!("it has no cluster {name}, which the context names")
        }
        E::MissingClusterUrl => "the context's cluster has no server".to_owned(),
        E::ParseClusterUrl(error) => return ("the cluster's server".to_owned(), Some(error)),
        E::ParseProxyUrl(error) => return ("the cluster's proxy".to_owned(), Some(error)),
        E::LoadCertificateAuthority(error) => {
            return ("its certificate-authority".to_owned(), Some(error));
        }
        E::LoadClientCertificate(error) => {
            return ("its client-certificate".to_owned(), Some(error));
        }
        E::LoadClientKey(error) => return ("its client-key".to_owned(), Some(error)),
        E::ParseCertificates(_) => "its certificate-authority is no PEM".to_owned(),
        other => return (other.to_string(), other.source()),
    };
    (told, None)
}

fn of_data(error: &LoadDataError) -> Told<'_> {
    match error {
        LoadDataError::DecodeBase64(_) => ("it is no base64".to_owned(), None),
        LoadDataError::ReadFile(error, path) => (format!("read {}", path.display()), Some(error)),
        LoadDataError::NoBase64DataOrFile => ("it is not given".to_owned(), None),
    }
}

/// Line, column and cause, of which no word is from the text.
fn yaml(error: &Yaml) -> String {
    let why = cause(error);
    match error.location() {
        Some(place) => format!("line {}, column {}: {why}", place.line(), place.column()),
        None => why,
    }
}

fn cause(error: &Yaml) -> String {
    if let Some(why) = plimsoll_settings::too_much(error) {
        return why.to_owned();
    }
    let told = match error.without_snippet() {
        Yaml::AliasError { error, .. } => return cause(error),
        // The parser's own: of the text it holds one character at the most.
        Yaml::ExternalMessage { msg, .. } => {
            let msg = msg.split(" at char ").next().unwrap_or_default();
            return short(msg);
        }
        Yaml::Unexpected { expected, .. } => {
            let expected = expected.trim_end_matches(" start");
            return format!("another thing than the {expected} that is expected");
        }
        Yaml::SerdeInvalidType { expected, .. } | Yaml::SerdeInvalidValue { expected, .. } => {
            return format!("{expected} is expected here");
        }
        Yaml::SerdeMissingField { field, .. } => return format!("{field} is missing"),
        Yaml::DuplicateMappingKey { .. } => "a key is given twice",
        Yaml::NullIntoString { .. } => "a value is missing",
        Yaml::UnknownAnchor { .. } => "there is no anchor (`&name`) for this alias (`*name`)",
        Yaml::Eof { .. } => "it ends too early",
        Yaml::InvalidUtf8Input => "it is no UTF-8",
        _ => "it cannot be read as what it should be",
    };
    told.to_owned()
}

#[cfg(test)]
mod tests;
