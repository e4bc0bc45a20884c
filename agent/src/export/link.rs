//! The connection to the collector and the token that is shown there, both as their files say now.
//!
//! The kubelet renews a projected token at four fifths of its life, and puts a changed ConfigMap in
//! the place of the old one. So both files are read before each request: a new token is shown before
//! the old one is refused, and new authorities count from the next connection on, which is made at
//! once. What cannot be read or used leaves what was there.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use super::{ExportError, endpoint};
use crate::{causes, config};

/// A connection, made when it is first needed, and the authorities that it trusts.
#[derive(Debug)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug)]
struct State {
    channel: Channel,
    /// The file's content when it was last looked at, good or not; `None` without TLS.
    authorities: Option<Vec<u8>>,
}

impl Link {
    /// Prepares the connection.
    pub(super) fn new(config: &config::Export) -> Result<Self, ExportError> {
        let authorities = authorities(config)?;
        let channel = endpoint(config, authorities.as_deref())?.connect_lazy();
        Ok(Self(Mutex::new(State {
            channel,
            authorities,
        })))
    }

    /// The connection, a new one if other authorities are to be trusted.
    pub(super) fn channel(&self, config: &config::Export) -> Channel {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that is away for a moment says nothing.
        if let Ok(found) = authorities(config)
            && found != state.authorities
        {
            match usable(config, found.as_deref()) {
                Ok(channel) => {
                    tracing::info!("export.ca_file has changed: connecting anew");
                    state.channel = channel;
                }
                Err(why) => tracing::warn!(
                    why,
                    "export.ca_file has changed and cannot be used: the authorities before it count"
                ),
            }
            state.authorities = found;
        }
        state.channel.clone()
    }
}

fn usable(config: &config::Export, authorities: Option<&[u8]>) -> Result<Channel, String> {
    if let Some(pem) = authorities {
        config::file::authorities(pem)?;
    }
    let endpoint = endpoint(config, authorities).map_err(|error| causes::chain(&error))?;
    Ok(endpoint.connect_lazy())
}

/// The content of `export.ca_file`, where there is TLS.
fn authorities(config: &config::Export) -> Result<Option<Vec<u8>>, ExportError> {
    let path = config
        .ca_file
        .as_ref()
        .filter(|_| config.endpoint.starts_with("https://"));
    path.map(|path| read(path, "export.ca_file")).transpose()
}

fn read(path: &Path, setting: &'static str) -> Result<Vec<u8>, ExportError> {
    config::file::read_small(path).map_err(|source| ExportError::Read {
        path: path.to_owned(),
        setting,
        source,
    })
}

/// The token to show, kept for when the file cannot be read.
#[derive(Debug, Default)]
pub(super) struct Token {
    last: Option<MetadataValue<Ascii>>,
}

impl Token {
    /// As the file says now; as it said last where it says nothing.
    pub(super) fn now(
        &mut self,
        file: Option<&PathBuf>,
    ) -> Result<Option<&MetadataValue<Ascii>>, ExportError> {
        if let Some(path) = file {
            match read_token(path) {
                Ok(token) => self.last = Some(token),
                Err(error) if self.last.is_none() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(self.last.as_ref())
    }

    /// It was refused: without its file there is none any more.
    pub(super) fn refused(&mut self) {
        self.last = None;
    }
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, ExportError> {
    let bytes = read(path, "export.token_file")?;
    let unfit = |why| ExportError::Token {
        path: path.to_owned(),
        why,
    };
    let token = config::file::token(&bytes).map_err(unfit)?;
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| unfit("no header can hold it"))?;
    value.set_sensitive(true);
    Ok(value)
}
