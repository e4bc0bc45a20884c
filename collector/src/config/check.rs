//! What the values of the settings must be. Pure; the files that they name are looked at in `file`.

use plimsoll_settings::Wrong;
use plimsoll_wire::record;

use super::{AuditFile, Data, History, Http, Ingest, Inventory};
use crate::ingest::dedupe::OWN_NODE;

/// What values must be, and which are not so.
#[derive(Default)]
pub(super) struct Checks(pub(super) Vec<Wrong>);

impl Checks {
    pub(super) fn that(&mut self, fine: bool, place: &str, must: &str) {
        if !fine {
            self.0.push((place.to_owned(), format!("must {must}")));
        }
    }
}

impl Data {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.that(
            self.max_journal_bytes >= 1 << 20,
            "data.max_journal_bytes",
            "be at least 1048576 (1 MiB)",
        );
    }
}

impl Ingest {
    pub(super) fn check(&self, checks: &mut Checks) {
        let (cert, key) = (&self.tls_cert_file, &self.tls_key_file);
        checks.that(
            cert.is_some() || key.is_none(),
            "ingest.tls_key_file",
            "be given together with ingest.tls_cert_file",
        );
        checks.that(
            key.is_some() || cert.is_none(),
            "ingest.tls_cert_file",
            "be given together with ingest.tls_key_file",
        );
        checks.that(
            cert.is_some() || self.listen.ip().is_loopback(),
            "ingest.listen",
            "be a loopback address while ingest.tls_cert_file is not given",
        );
        checks.that(
            (1 << 16..=1 << 28).contains(&self.max_request_bytes),
            "ingest.max_request_bytes",
            "lie between 65536 and 268435456",
        );
        for (index, token) in self.tokens.iter().enumerate() {
            let place = |setting: &str| format!("ingest.tokens[{index}].{setting}");
            let mut others = self.tokens.iter().take(index);
            let is_again = others.any(|other| other.file == token.file);
            checks.that(
                record::is_node_name(&token.node),
                &place("node"),
                record::MUST_BE_A_NODE_NAME,
            );
            checks.that(
                token.node != OWN_NODE,
                &place("node"),
                &format!("not be {OWN_NODE}: the collector's own records carry that name"),
            );
            checks.that(
                !is_again || token.file.as_os_str().is_empty(),
                &place("file"),
                "not be the file of another token",
            );
        }
    }
}

impl Http {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.that(
            self.listen.ip().is_loopback(),
            "http.listen",
            "be a loopback address: the dashboard does not authenticate anybody yet",
        );
    }
}

impl Inventory {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.that(self.reload_s > 0, "inventory.reload_s", "be at least 1");
        checks.that(
            self.keep_deleted_s <= 86_400,
            "inventory.keep_deleted_s",
            "be at most 86400 (a day)",
        );
    }
}

impl AuditFile {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.that(
            self.name_wait_s <= 300,
            "audit_file.name_wait_s",
            "be at most 300",
        );
        checks.that(
            self.rotate_bytes >= 1 << 16,
            "audit_file.rotate_bytes",
            "be at least 65536",
        );
        checks.that(
            self.keep_files > 0,
            "audit_file.keep_files",
            "be at least 1",
        );
    }
}

impl History {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.that(
            (1_000..=1_000_000).contains(&self.max_series),
            "history.max_series",
            "lie between 1000 and 1000000",
        );
    }
}
