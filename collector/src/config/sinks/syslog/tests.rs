//! What is said about the settings of a receiver.

use super::*;
use crate::config::sinks::SinkKind;
use crate::config::{Config, ConfigError};

/// What is told of `syslog: INNER`, without the place.
fn told(inner: &str) -> Vec<String> {
    let text = format!("sinks:\n- name: a\n  syslog: {inner}\n");
    let lines = match Config::parse("", &text) {
        Ok(_) => Vec::new(),
        Err(ConfigError(lines)) => lines,
    };
    let of = |line: String| Some(line.strip_prefix(":3: sinks[0].syslog.")?.to_owned());
    lines.into_iter().filter_map(of).collect()
}

#[track_caller]
fn check(inner: &str, expect: &[&str]) {
    assert_eq!(told(inner), expect, "{inner}");
}

#[test]
fn a_receiver_needs_no_more_than_an_address() {
    let text = "sinks:\n- {name: siem, syslog: {address: 'siem:6514'}}\n";
    let sinks = Config::parse("", text).unwrap().sinks();
    let settings = Syslog {
        address: "siem:6514".to_owned(),
        ..Syslog::default()
    };
    assert_eq!(sinks[0].kind, SinkKind::Syslog(settings));
    check("{address: 'siem.example.com:6514'}", &[]);
    check("{address: '[2001:db8::1]:6514', server_name: siem}", &[]);
    check("{address: '127.0.0.1:514', tls: false}", &[]);
    check("{address: '[::1]:514', tls: false}", &[]);
    check(
        "{address: 'siem:6514', ca_file: /ca, cert_file: /c, key_file: /k, facility: 23, hostname: prod, \
         sd_id: audit@1.2, max_message_bytes: 2048}",
        &[],
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    check(
        "{}",
        &["address: must be HOST:PORT, as syslog.example.com:6514 or [::1]:6514"],
    );
    check(
        "{addres: 'a:1', facility: 24, hostname: 'a b', sd_id: plimsoll, max_message_bytes: 2047, \
         server_name: 'a b', cert_file: /c, ca_file: ''}",
        &[
            "addres: there is no such setting; did you mean address?",
            "address: must be HOST:PORT, as syslog.example.com:6514 or [::1]:6514",
            "server_name: must be the name of a host, or an address",
            "ca_file: must be the path of a file",
            "cert_file: must be given together with key_file",
            "facility: must be at most 23",
            "hostname: must be a name: 255 printable ASCII characters at the most, without spaces",
            "sd_id: must be NAME@NUMBER with an enterprise number, as plimsoll@32473: 32 characters at the \
             most, none of them `=`, `]` or `\"`",
            "max_message_bytes: must lie between 2048 and 1048576",
        ],
    );
    check(
        "{address: '10.0.0.1:514', tls: false, key_file: /k, server_name: a}",
        &[
            "tls: must be true for what is no loopback address: events would go in plain text",
            "key_file: must be left out while tls is false",
            "server_name: must be left out while tls is false",
            "key_file: must be given together with cert_file",
        ],
    );
    let name = &told("{address: 'localhost:514', tls: false}")[0];
    assert!(name.starts_with("tls: "), "a name can be anybody's: {name}");
}

#[test]
fn an_address_has_a_host_and_a_port() {
    for (address, is) in [
        ("siem:6514", Some(("siem", 6514))),
        ("10.0.0.1:1", Some(("10.0.0.1", 1))),
        ("[::1]:65535", Some(("::1", 65535))),
        ("::1:6514", None),
        ("[siem]:6514", None),
        ("[::1]", None),
        ("siem", None),
        ("siem:", None),
        ("siem:0", None),
        ("siem:65536", None),
        (":6514", None),
        ("a b:6514", None),
        ("tls://siem:6514", None),
        ("", None),
    ] {
        let settings = Syslog {
            address: address.to_owned(),
            ..Syslog::default()
        };
        assert_eq!(settings.host_and_port(), is, "{address}");
    }
}

#[test]
fn structured_data_is_named_by_who_gave_the_name() {
    for (id, is) in [
        ("plimsoll@32473", true),
        ("a@1.2.3", true),
        ("plimsoll", false),
        ("plimsoll@", false),
        ("@1", false),
        ("a@1.", false),
        ("a@b", false),
        ("a=b@1", false),
        ("a]@1", false),
        ("a\"@1", false),
        ("a@1@2", false),
    ] {
        assert_eq!(is_sd_id(id), is, "{id}");
    }
}
