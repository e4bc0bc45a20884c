//! The plugin (`exec`) of a kubeconfig's user, run: a program that gives a token, a certificate or both
//! (client.authentication.k8s.io/v1, `ExecCredential`).
//!
//! The client library has it run anew for each part of a client: for the header, for TLS, and for when a
//! certificate ends; of a certificate that makes five runs for one answer. A run may take seconds, and may have
//! somebody log in. So it is run here, once, and what it gave is put in its place in the configuration.

use std::process::{Command, Stdio};

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use kube::client::AuthError;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;

/// What it gave.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Given {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Given>,
}

/// The plugin, if what is shown comes from one: whatever else is written there counts before it, as the client
/// library has it.
pub(super) fn of(user: &AuthInfo) -> Option<ExecConfig> {
    let has_password = user.username.is_some() && user.password.is_some();
    let has_token = user.token.is_some() || user.token_file.is_some();
    let is_other = user.auth_provider.is_some() || has_password || has_token;
    user.exec.clone().filter(|_| !is_other)
}

/// Runs it to its end.
pub(super) fn run(exec: &ExecConfig) -> Result<Given, AuthError> {
    let program = exec.command.as_deref().ok_or(AuthError::MissingCommand)?;
    let mut command = Command::new(program);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command.env("KUBERNETES_EXEC_INFO", asked(exec)?);
    if is_interactive(exec) {
        command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        command.stdin(Stdio::null());
    }
    let out = command.output().map_err(AuthError::AuthExecStart)?;
    if !out.status.success() {
        return Err(AuthError::AuthExecRun {
            cmd: program.to_owned(),
            out: Box::new(out),
        });
    }
    // As kubectl, which takes YAML as well.
    let answer: Answer = serde_saphyr::from_slice(&out.stdout)
        .map_err(|error| AuthError::AuthExecParse(Box::new(error)))?;
    answer.status.ok_or(AuthError::ExecPluginFailed)
}

/// Whether it may ask whoever is there.
pub(super) fn is_interactive(exec: &ExecConfig) -> bool {
    exec.interactive_mode != Some(ExecInteractiveMode::Never)
}

fn asked(exec: &ExecConfig) -> Result<String, AuthError> {
    let mut spec = serde_json::json!({"interactive": is_interactive(exec)});
    if exec.provide_cluster_info {
        let cluster = exec.cluster.as_ref();
        let cluster = cluster.ok_or(AuthError::ExecMissingClusterInfo)?;
        let cluster = serde_json::to_value(cluster).map_err(AuthError::AuthExecSerialize)?;
        spec["cluster"] = cluster;
    }
    let asked = serde_json::json!({"apiVersion": exec.api_version, "kind": "ExecCredential",
        "spec": spec});
    Ok(asked.to_string())
}

impl Given {
    /// When the token ends; one that says nothing of that does not.
    pub(super) fn until(&self) -> Result<Option<Timestamp>, AuthError> {
        let until = self.expiration_timestamp.as_ref();
        let until = until.map(|until| until.parse()).transpose();
        let until = until.map_err(AuthError::MalformedTokenExpirationDate)?;
        Ok(until.filter(|_| self.token.is_some()))
    }

    /// In the plugin's place.
    pub(super) fn put(self, user: &mut AuthInfo) -> Result<(), AuthError> {
        user.exec = None;
        user.token = self.token.map(Into::into);
        if let (Some(certificate), Some(key)) = (self.client_certificate_data, self.client_key_data)
        {
            user.client_certificate_data = Some(base64(certificate)?);
            user.client_key_data = Some(base64(key)?.into());
        }
        Ok(())
    }
}

/// As a kubeconfig holds it.
fn base64(pem: String) -> Result<String, AuthError> {
    let value = serde_json::to_value(ByteString(pem.into_bytes()));
    let text = value.and_then(serde_json::from_value);
    text.map_err(AuthError::AuthExecSerialize)
}
