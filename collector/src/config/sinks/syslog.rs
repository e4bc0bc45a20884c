//! The settings of a sink to a receiver of syslog. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::config::check::Checks;

/// The facilities of RFC 5424, section 6.2.1, end here.
const LAST_FACILITY: u32 = 23;

/// Bytes of a message that every receiver takes (RFC 5424, section 6.1, and RFC 5425, section 4.3.1).
const LEAST_MESSAGE_BYTES: usize = 2048;

/// What is held of one message in memory, and of a call.
pub const MOST_MESSAGE_BYTES: usize = 1 << 20;

/// A receiver of syslog (RFC 5424) over TLS (RFC 5425), or over TCP on the same machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Syslog {
    /// `HOST:PORT`.
    pub address: String,
    /// The name that its certificate must have; the address's host without.
    pub server_name: Option<String>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Authorities that its certificate is signed by, PEM; the system's without.
    pub ca_file: Option<PathBuf>,
    /// The collector's certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// Number of the facility.
    pub facility: u32,
    /// The host that messages are of; each event's node without.
    pub hostname: Option<String>,
    /// The name of the structured data, `NAME@NUMBER`.
    pub sd_id: String,
    /// Longest message that the receiver takes, bytes.
    pub max_message_bytes: usize,
}

impl Default for Syslog {
    fn default() -> Self {
        Self {
            address: String::new(),
            server_name: None,
            tls: true,
            ca_file: None,
            cert_file: None,
            key_file: None,
            // Log audit.
            facility: 13,
            hostname: None,
            // RFC 5612: the enterprise number of examples.
            sd_id: "plimsoll@32473".to_owned(),
            max_message_bytes: 65_536,
        }
    }
}

impl Syslog {
    /// Host, without brackets, and port of the address, if it has both.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|of| of.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner)?,
            None => host,
        };
        let is_host = bracketed.is_some() || !host.contains(':');
        let is_named = ServerName::try_from(host).is_ok();
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (is_host && is_named).then_some((host, port))
    }

    /// The name that the receiver's certificate must have.
    pub fn name(&self) -> Option<ServerName<'static>> {
        let host = self.host_and_port().map(|(host, _)| host);
        let name = self.server_name.as_deref().or(host)?;
        ServerName::try_from(name.to_owned()).ok()
    }

    pub(super) fn check(&self, place: &str, checks: &mut Checks) {
        let at = |setting: &str| format!("{place}.{setting}");
        let address = self.host_and_port();
        checks.that(
            address.is_some(),
            &at("address"),
            "be HOST:PORT, as syslog.example.com:6514 or [::1]:6514",
        );
        let is_near =
            |(host, _): (&str, u16)| host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        checks.that(
            self.tls || address.is_none_or(is_near),
            &at("tls"),
            "be true for what is no loopback address: events would go in plain text",
        );
        checks.that(
            self.server_name.is_none() || self.name().is_some(),
            &at("server_name"),
            "be the name of a host, or an address",
        );
        self.check_files(&at, checks);
        checks.that(
            self.facility <= LAST_FACILITY,
            &at("facility"),
            &format!("be at most {LAST_FACILITY}"),
        );
        let is_printable = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        checks.that(
            self.hostname
                .as_deref()
                .is_none_or(|name| is_printable(name, 255)),
            &at("hostname"),
            "be a name: 255 printable ASCII characters at the most, without spaces",
        );
        checks.that(
            is_sd_id(&self.sd_id) && is_printable(&self.sd_id, 32),
            &at("sd_id"),
            "be NAME@NUMBER with an enterprise number, as plimsoll@32473: 32 characters at the most, none of \
             them `=`, `]` or `\"`",
        );
        checks.that(
            (LEAST_MESSAGE_BYTES..=MOST_MESSAGE_BYTES).contains(&self.max_message_bytes),
            &at("max_message_bytes"),
            &format!("lie between {LEAST_MESSAGE_BYTES} and {MOST_MESSAGE_BYTES}"),
        );
    }

    fn check_files(&self, at: &impl Fn(&str) -> String, checks: &mut Checks) {
        let files = [
            ("ca_file", self.ca_file.as_ref()),
            ("cert_file", self.cert_file.as_ref()),
            ("key_file", self.key_file.as_ref()),
        ];
        for (setting, file) in files {
            checks.that(
                file.is_none_or(|path| !path.as_os_str().is_empty()),
                &at(setting),
                "be the path of a file",
            );
            checks.that(
                self.tls || file.is_none(),
                &at(setting),
                "be left out while tls is false",
            );
        }
        checks.that(
            self.tls || self.server_name.is_none(),
            &at("server_name"),
            "be left out while tls is false",
        );
        for (given, missing, place, with) in [
            (&self.cert_file, &self.key_file, "cert_file", "key_file"),
            (&self.key_file, &self.cert_file, "key_file", "cert_file"),
        ] {
            checks.that(
                given.is_none() || missing.is_some(),
                &at(place),
                &format!("be given together with {with}"),
            );
        }
    }
}

/// RFC 5424, section 6.3.2: a name, and who gave it.
fn is_sd_id(text: &str) -> bool {
    let is_number = |number: &str| {
        let mut parts = number.split('.');
        parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.split_once('@').is_some_and(|(name, number)| {
        !name.is_empty() && !name.contains(['=', ']', '"']) && is_number(number)
    })
}

#[cfg(test)]
mod tests;
