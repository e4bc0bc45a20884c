//! What the values of the settings must be. Pure; the files that they name are looked at in `file`.

use plimsoll_settings::Wrong;
use plimsoll_wire::record;

use super::{Access, AuditFile, Data, History, Http, Ingest, Inventory, TokenReview};
use crate::ingest::dedupe::OWN_NODE;

/// Ten years: longer than any disk keeps records.
const MAX_AGE_S: u64 = 315_360_000;

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
        checks.that(
            self.max_trail_bytes >= 1 << 20,
            "data.max_trail_bytes",
            "be at least 1048576 (1 MiB)",
        );
        for (place, age_s) in [
            ("data.max_journal_age_s", self.max_journal_age_s),
            ("data.max_trail_age_s", self.max_trail_age_s),
        ] {
            checks.that(
                age_s.is_none_or(|age_s| (60..=MAX_AGE_S).contains(&age_s)),
                place,
                "be null or 60 to 315360000 (ten years)",
            );
        }
        // One event, with all of its bytes escaped.
        checks.that(
            self.max_quarantine_bytes >= 16 << 20,
            "data.max_quarantine_bytes",
            "be at least 16777216 (16 MiB)",
        );
    }
}

/// Certificate and key of a section are there, or neither is.
fn pair<T>(checks: &mut Checks, section: &str, cert: Option<&T>, key: Option<&T>) {
    let [cert_file, key_file] = ["cert", "key"].map(|of| format!("{section}.tls_{of}_file"));
    let together = |with: &str| format!("be given together with {with}");
    checks.that(
        cert.is_some() || key.is_none(),
        &key_file,
        &together(&cert_file),
    );
    checks.that(
        key.is_some() || cert.is_none(),
        &cert_file,
        &together(&key_file),
    );
}

impl Ingest {
    pub(super) fn check(&self, checks: &mut Checks) {
        let (cert, key) = (self.tls_cert_file.as_ref(), self.tls_key_file.as_ref());
        pair(checks, "ingest", cert, key);
        self.token_review.check(checks);
        self.check_rates(checks);
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

impl Ingest {
    /// A node's largest request must come through, or it would wait for ever.
    fn check_rates(&self, checks: &mut Checks) {
        checks.that(
            self.node_burst_bytes >= self.max_request_bytes as u64,
            "ingest.node_burst_bytes",
            "be at least ingest.max_request_bytes",
        );
        for (place, value, least) in [
            ("node_bytes_per_s", self.node_bytes_per_s, 1024),
            ("node_requests_per_s", self.node_requests_per_s, 1),
            ("node_burst_requests", self.node_burst_requests, 1),
        ] {
            let must = format!("be at least {least}");
            checks.that(value >= least, &format!("ingest.{place}"), &must);
        }
    }
}

/// The name of a service account or of its namespace (RFC 1123, as Kubernetes has it).
pub(super) fn is_name(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        label.bytes().all(of_name)
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

impl TokenReview {
    fn check(&self, checks: &mut Checks) {
        const AUDIENCE: &str = "ingest.token_review.audience";
        const ACCOUNTS: &str = "ingest.token_review.service_accounts";
        let audience = self.audience.as_deref();
        checks.that(
            audience.is_none_or(|text| !text.is_empty() && !text.contains(char::is_whitespace)),
            AUDIENCE,
            "be a word, as plimsoll-collector",
        );
        checks.that(
            audience.is_some() || self.service_accounts.is_empty(),
            ACCOUNTS,
            &format!("be given together with {AUDIENCE}"),
        );
        checks.that(
            audience.is_none() || !self.service_accounts.is_empty(),
            AUDIENCE,
            &format!("be given together with {ACCOUNTS}: without one nobody may send"),
        );
        for (at, account) in self.service_accounts.iter().enumerate() {
            let names = account.split_once('/');
            checks.that(
                names.is_some_and(|(namespace, name)| is_name(namespace) && is_name(name)),
                &format!("{ACCOUNTS}[{at}]"),
                "be NAMESPACE/NAME, as plimsoll-agent/plimsoll-agent",
            );
        }
    }
}

impl Http {
    pub(super) fn check(&self, checks: &mut Checks) {
        let (cert, key) = (self.tls_cert_file.as_ref(), self.tls_key_file.as_ref());
        pair(checks, "http", cert, key);
        let (is_loopback, asks) = (
            self.listen.ip().is_loopback(),
            self.access == Access::Kubernetes,
        );
        checks.that(
            is_loopback || asks,
            "http.listen",
            "be a loopback address while http.access is loopback: nobody is asked who they are",
        );
        checks.that(
            is_loopback || !asks || cert.is_some(),
            "http.listen",
            "be a loopback address while http.tls_cert_file is not given: tokens would go in plain text",
        );
        if self.client_ca_file.is_some() {
            checks.that(
                cert.is_some(),
                "http.client_ca_file",
                "be given together with http.tls_cert_file",
            );
            checks.that(
                asks,
                "http.client_ca_file",
                "be left out while http.access is loopback: nobody is asked who they are",
            );
        }
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
