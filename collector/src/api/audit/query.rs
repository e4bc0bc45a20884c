//! What can be asked of the audit ring: parameters, their meaning, and what is wrong with them. Pure.

use plimsoll_wire::AuditEvent;
use serde::Deserialize;

use super::AuditRecord;
use crate::api::access::Seen;

/// Most events in one answer.
pub const MAX_LIMIT: usize = 5_000;
const DEFAULT_LIMIT: usize = 200;

/// What to answer with; `Default` is the newest of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// `CRED`, `TOKEN`, …, or `imds` (every metadata request), `oom_kill`, `container_end`, `loss`,
    /// `misplaced`; several with commas. `all`, or none given, is everything; an empty text is a mistake.
    pub class: Option<String>,
    /// Namespace of the pod; an empty text is a mistake.
    pub namespace: Option<String>,
    /// Workload name; an empty text is a mistake.
    pub workload: Option<String>,
    /// RFC 3339, or an age: `90s`, `15m`, `2h`, `1d`; an empty text is a mistake. With `after`, it bounds
    /// what an earlier life of the collector left, and nothing else.
    pub since: Option<String>,
    /// Most events; default 200.
    pub limit: Option<usize>,
    /// The `cursor` of an earlier answer: only events that the collector got after it, in the
    /// order in which it got them, whatever time they carry.
    pub after: Option<String>,
}

/// Classes of metadata requests, in the order of what they give away.
pub const REQUEST_CLASSES: [&str; 12] = [
    "CRED",
    "CRED_LIST",
    "SECRET_CFG",
    "IDENTITY_PROOF",
    "TOKEN",
    "ROOT_ENUM",
    "UNKNOWN",
    "KEYS",
    "TAGS",
    "NETWORK",
    "TOPOLOGY",
    "LIFECYCLE",
];
/// What else can be asked for: every metadata request, and the other kinds of events.
pub const OTHER_CLASSES: [&str; 5] = ["imds", "oom_kill", "container_end", "loss", "misplaced"];

/// Everything, in so many words: what a form sends that asks for no class.
pub const ALL: &str = "all";

/// A query that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither a time nor an age.
    #[error("since: `{0}` is neither an RFC 3339 time nor an age such as 90s, 15m, 2h or 1d")]
    Since(String),
    /// None is named where one should be.
    #[error("since: it is empty; give an RFC 3339 time or an age such as 90s, 15m, 2h or 1d")]
    NoSince,
    /// None is named where one should be.
    #[error("{0}: it is empty; without it all are meant")]
    NoName(&'static str),
    /// There is none of that name.
    #[error("class: there is no `{0}`; there are {known}", known = known_classes())]
    Class(String),
    /// None is named where one should be.
    #[error("class: it is empty; there are {known}", known = known_classes())]
    NoClass,
    /// Out of bounds.
    #[error("limit: {0} is not between 1 and {MAX_LIMIT}")]
    Limit(usize),
    /// Not ours.
    #[error("after: `{0}` is no cursor of an earlier answer")]
    After(String),
}

fn known_classes() -> String {
    let (requests, others) = (REQUEST_CLASSES.join(", "), OTHER_CLASSES.join(", "));
    format!("{requests} and {others}; {ALL} is every one")
}

/// When the oldest event may have happened, Unix nanoseconds.
pub(super) fn since_of(query: &AuditQuery, now_unix_ns: u64) -> Result<u64, QueryError> {
    let given = query.since.as_deref().map(str::trim);
    match given {
        None => Ok(0),
        Some("") => Err(QueryError::NoSince),
        Some(text) => since_unix_ns(text, now_unix_ns),
    }
}

pub(super) fn limit_of(query: &AuditQuery) -> Result<usize, QueryError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 || limit > MAX_LIMIT {
        return Err(QueryError::Limit(limit));
    }
    Ok(limit)
}

/// What a record must be.
pub(super) struct Filter<'a> {
    classes: Vec<&'a str>,
    namespace: Option<&'a str>,
    workload: Option<&'a str>,
    seen: &'a Seen,
}

impl AuditQuery {
    /// The one namespace that is asked for, as it is compared.
    pub(crate) fn namespace(&self) -> Option<&str> {
        let given = self.namespace.as_deref().map(str::trim);
        given.filter(|text| !text.is_empty())
    }

    /// As a form sends it: a field that nobody filled in is no mistake there.
    #[must_use]
    pub fn of_form(mut self) -> Self {
        for field in [&mut self.since, &mut self.namespace, &mut self.workload] {
            field.take_if(|text| text.trim().is_empty());
        }
        self
    }
}

impl<'a> Filter<'a> {
    pub(super) fn of(query: &'a AuditQuery, seen: &'a Seen) -> Result<Self, QueryError> {
        // As often as not a variable that was not set: not to be answered with everything.
        let given = |name, text: &'a Option<String>| match text.as_deref().map(str::trim) {
            Some("") => Err(QueryError::NoName(name)),
            text => Ok(text),
        };
        let known = |class: &str| {
            let mut all = REQUEST_CLASSES.iter().chain(&OTHER_CLASSES).chain([&ALL]);
            all.any(|known| known.eq_ignore_ascii_case(class))
        };
        let mut classes = Vec::new();
        for class in query.class.iter().flat_map(|class| class.split(',')) {
            match class.trim() {
                "" => return Err(QueryError::NoClass),
                class if known(class) => classes.push(class),
                class => return Err(QueryError::Class(class.to_owned())),
            }
        }
        if classes.iter().any(|class| class.eq_ignore_ascii_case(ALL)) {
            classes.clear();
        }
        Ok(Self {
            classes,
            namespace: given("namespace", &query.namespace)?,
            workload: given("workload", &query.workload)?,
            seen,
        })
    }

    pub(super) fn matches(&self, record: &AuditRecord) -> bool {
        let class = record.class();
        let is_imds = matches!(record.event, AuditEvent::Imds(_));
        let of_class = |wanted: &&str| {
            class.eq_ignore_ascii_case(wanted) || (is_imds && wanted.eq_ignore_ascii_case("imds"))
        };
        self.seen.has(record.name("namespace"))
            && (self.classes.is_empty() || self.classes.iter().any(of_class))
            && self
                .namespace
                .is_none_or(|namespace| record.name("namespace") == Some(namespace))
            && self
                .workload
                .is_none_or(|workload| record.name("workload_name") == Some(workload))
    }
}

/// A time, or an age before now.
fn since_unix_ns(text: &str, now_unix_ns: u64) -> Result<u64, QueryError> {
    let refused = || QueryError::Since(text.to_owned());
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(u64::try_from(time.as_nanosecond()).unwrap_or(0));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| refused())?;
    let seconds: u64 = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(refused()),
    };
    Ok(now_unix_ns.saturating_sub(number.saturating_mul(seconds).saturating_mul(1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use plimsoll_imds::Class::{
        Cred, CredList, IdentityProof, Keys, Lifecycle, Network, RootEnum, SecretCfg, Tags, Token,
        Topology, Unknown,
    };
    use serde_json::json;

    use super::*;

    /// A class that is added there has to be known here.
    #[test]
    fn every_class_of_a_request_can_be_asked_for() {
        let all = [
            Cred,
            CredList,
            SecretCfg,
            IdentityProof,
            Token,
            RootEnum,
            Unknown,
            Keys,
            Tags,
            Network,
            Topology,
            Lifecycle,
        ];
        for class in all {
            // The compiler asks for it here.
            match class {
                Cred | CredList | SecretCfg | IdentityProof | Token | RootEnum | Unknown | Keys
                | Tags | Network | Topology | Lifecycle => {}
            }
        }
        assert_eq!(json!(all), json!(REQUEST_CLASSES));
    }
}
