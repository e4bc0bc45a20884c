//! What a list or watch asks for: the query, checked as an API server checks ListOptions, the
//! tokens of its pages, and the form that the Accept header wants.

use std::time::Duration;

use serde_json::Value;

use super::object::Object;
use super::status::{self, Canned, Cause};

/// A query string, taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        });
        Self(pairs.collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, _)| k == key);
        found
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    fn is(&self, key: &str) -> bool {
        matches!(self.get(key), Some("true" | "1"))
    }

    pub(super) fn is_watch(&self) -> bool {
        self.is("watch")
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = (hex(bytes.next()), hex(bytes.next()));
                let (Some(high), Some(low)) = digits else {
                    return text.to_owned();
                };
                u8::try_from(high * 16 + low).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// A selector of those that Plimsoll uses: two fields, and labels that are equal to something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    node: Option<String>,
    name: Option<String>,
    labels: Vec<(String, String)>,
}

impl Selector {
    fn labels(mut self, text: &str) -> Result<Self, Canned> {
        for term in text.split(',') {
            let (label, value) = term
                .split_once('=')
                .ok_or_else(|| status::bad_request("unable to parse requirement"))?;
            let value = value.trim_start_matches('=').to_owned();
            self.labels.push((label.to_owned(), value));
        }
        Ok(self)
    }

    fn fields(text: &str) -> Result<Self, Canned> {
        let mut selector = Self::default();
        for term in text.split(',') {
            let (field, value) = term.split_once('=').unwrap_or((term, ""));
            let value = Some(value.trim_start_matches('=').to_owned());
            match field {
                "spec.nodeName" => selector.node = value,
                "metadata.name" => selector.name = value,
                other => {
                    let message = format!("field label not supported: {other}");
                    return Err(status::bad_request(&message));
                }
            }
        }
        Ok(selector)
    }

    pub(super) fn takes(&self, object: &Object) -> bool {
        self.name
            .as_ref()
            .is_none_or(|name| object.name().1 == *name)
            && self.node.as_ref().is_none_or(|node| object.node() == *node)
            && (self.labels.is_empty() || object.has_labels(&self.labels))
    }
}

/// What a list is asked to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The present.
    Newest,
    /// The present, if it is not older than this.
    NotOlderThan(u64),
    /// The state at just this version.
    Exactly(u64),
    /// The rest of a list, after a key.
    Rest(Page),
}

/// The place of a page: what a continue token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Of the first page; `None`: as the rest is now.
    pub(super) version: Option<u64>,
    /// `NAMESPACE/NAME` or `NAME`, of the last object before.
    pub(super) after: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListOptions {
    pub(super) at: At,
    pub(super) limit: Option<usize>,
    pub(super) selector: Option<Selector>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchOptions {
    /// Events after this; `None`: from now.
    pub(super) from: Option<u64>,
    /// First what there is.
    pub(super) initial: bool,
    /// A bookmark says where what there is ends.
    pub(super) initial_end: bool,
    pub(super) bookmarks: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) selector: Option<Selector>,
}

const MATCH: &str = "resourceVersionMatch";

fn number(query: &Query, key: &str) -> Result<Option<u64>, Canned> {
    let Some(text) = query.get(key) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| status::no_number(text))
}

fn options_invalid(causes: &[Cause]) -> Result<(), Canned> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(status::invalid("meta.k8s.io", "ListOptions", causes))
}

fn not_supported(value: &str, known: &str) -> Cause {
    Cause {
        reason: "FieldValueNotSupported",
        message: format!("Unsupported value: \"{value}\": supported values: {known}"),
        field: MATCH,
    }
}

fn selector(query: &Query) -> Result<Option<Selector>, Canned> {
    let fields = query.get("fieldSelector");
    let fields = fields.map(Selector::fields).transpose()?;
    match query.get("labelSelector") {
        Some(labels) => fields.unwrap_or_default().labels(labels).map(Some),
        None => Ok(fields),
    }
}

impl ListOptions {
    /// # Errors
    /// The answer that refuses it.
    pub(super) fn parse(query: &Query) -> Result<Self, Canned> {
        let matching = query.get(MATCH);
        let version = query.get("resourceVersion");
        let token = query.get("continue");
        let mut causes = Vec::new();
        if let Some(matching) = matching {
            if version.is_none() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                causes.push(Cause::forbidden(MATCH, why));
            }
            if token.is_some() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                causes.push(Cause::forbidden(MATCH, why));
            }
            if !["Exact", "NotOlderThan"].contains(&matching) {
                causes.push(not_supported(matching, "\"Exact\", \"NotOlderThan\""));
            }
            if matching == "Exact" && version == Some("0") {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                causes.push(Cause::forbidden(MATCH, why));
            }
        }
        if query.get("sendInitialEvents").is_some() {
            let why = "sendInitialEvents is forbidden for list";
            causes.push(Cause::forbidden("sendInitialEvents", why));
        }
        options_invalid(&causes)?;
        let limit = number(query, "limit")?.filter(|limit| *limit > 0);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let version = number(query, "resourceVersion")?;
        let (at, limit) = match (token, version, matching) {
            (Some(_), Some(version), _) if version != 0 => {
                let why = "specifying resource version is not allowed when using continue";
                return Err(status::bad_request(why));
            }
            (Some(token), ..) => (At::Rest(Page::parse(token)?), limit),
            (None, None, _) => (At::Newest, limit),
            // From the watch cache, which knows no pages.
            (None, Some(0), _) => (At::Newest, None),
            (None, Some(version), Some("Exact")) => (At::Exactly(version), limit),
            (None, Some(version), None) if limit.is_some() => (At::Exactly(version), limit),
            (None, Some(version), _) => (At::NotOlderThan(version), limit),
        };
        Ok(Self {
            at,
            limit,
            selector: selector(query)?,
        })
    }
}

impl WatchOptions {
    /// `watch_list`: whether the server can send what there is as events that end with a bookmark.
    ///
    /// # Errors
    /// The answer that refuses it.
    pub(super) fn parse(query: &Query, watch_list: bool) -> Result<Self, Canned> {
        let matching = query.get(MATCH);
        let wanted = query.get("sendInitialEvents");
        let mut causes = Vec::new();
        if wanted.is_some() {
            if matching != Some("NotOlderThan") {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                causes.push(Cause::forbidden(MATCH, why));
            }
            if !watch_list {
                let why = "sendInitialEvents is forbidden for watch unless the WatchList feature \
                    gate is enabled";
                causes.push(Cause::forbidden("sendInitialEvents", why));
            }
        } else if matching.is_some() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if let Some(matching) = matching
            && wanted.is_none()
            && matching != "NotOlderThan"
        {
            causes.push(not_supported(matching, "\"NotOlderThan\""));
        }
        options_invalid(&causes)?;
        let from = number(query, "resourceVersion")?;
        // Without a version the present is sent first, since ever; that its end is marked is
        // new with the feature.
        let initial = match wanted {
            Some(wanted) => wanted == "true",
            None => from.unwrap_or(0) == 0,
        };
        let bookmarks = query.is("allowWatchBookmarks");
        Ok(Self {
            from: from.filter(|from| *from != 0),
            initial,
            initial_end: initial && bookmarks && watch_list,
            bookmarks,
            timeout: number(query, "timeoutSeconds")?.map(Duration::from_secs),
            selector: selector(query)?,
        })
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648, section 5, without padding: what Go calls RawURLEncoding.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for sextet in 0..=chunk.len() {
            let at = (bits >> (18 - 6 * sextet)) & 63;
            let letter = usize::try_from(at).ok().and_then(|at| BASE64.get(at));
            out.extend(letter.map(|l| char::from(*l)));
        }
    }
    out
}

/// RFC 4648, section 4: as kubeconfigs carry certificates.
pub(super) fn base64_padded(bytes: &[u8]) -> String {
    let mut text = base64(bytes).replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let value = BASE64.iter().position(|known| *known == byte)?;
        bits = ((bits << 6) | u32::try_from(value).ok()?) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(out)
}

impl Page {
    fn parse(token: &str) -> Result<Self, Canned> {
        let invalid = |why: &str| {
            let message = format!("invalid continue token: continue key is not valid: {why}");
            status::bad_request(&message)
        };
        let bytes = from_base64(token).ok_or_else(|| invalid("illegal base64 data"))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let first = bytes.first().copied().unwrap_or(0);
            let first = char::from(first).escape_default();
            let first = first.to_string().replace("\\u{0}", "\\x00");
            invalid(&format!(
                "invalid character '{first}' looking for beginning of value"
            ))
        })?;
        let start = value["start"].as_str().unwrap_or_default();
        if value["v"] != "meta.k8s.io/v1" || start.is_empty() {
            return Err(invalid("server does not recognize this encoded version"));
        }
        Ok(Self {
            version: value["rv"].as_u64(),
            after: start.trim_matches(['/', '\0']).to_owned(),
        })
    }

    pub(super) fn token(&self) -> String {
        let (version, slash) = match self.version {
            Some(version) => (version.to_string(), "/"),
            None => ("-1".to_owned(), ""),
        };
        let start = Value::from(format!("{slash}{}\0", self.after));
        let text = format!("{{\"v\":\"meta.k8s.io/v1\",\"rv\":{version},\"start\":{start}}}");
        base64(text.as_bytes())
    }
}

/// What an object is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Metadata,
}

/// What the Accept header wants of objects; `None`: nothing that is served here.
pub(super) fn form(accept: &str) -> Option<Form> {
    let served = |media: &str| {
        let mut parts = media.split(';').map(str::trim);
        let kind = parts.next()?;
        let parameters: Vec<_> = parts.collect();
        let wants = parameters.iter().find_map(|p| p.strip_prefix("as="));
        match (kind, wants) {
            ("application/json" | "application/*" | "*/*", None) => Some(Form::Whole),
            ("application/json", Some("PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                Some(Form::Metadata)
            }
            _ => None,
        }
    };
    if accept.is_empty() {
        return Some(Form::Whole);
    }
    accept.split(',').find_map(served)
}

/// Whether the Accept header wants discovery of all groups in one document.
pub(super) fn wants_aggregated(accept: &str) -> bool {
    accept.contains("as=APIGroupDiscoveryList")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Result<ListOptions, Canned> {
        ListOptions::parse(&Query::parse(query))
    }

    #[test]
    fn versions_and_limits_mean_what_they_mean_to_a_real_server() {
        let plain = list("limit=500").unwrap();
        assert_eq!((plain.at, plain.limit), (At::Newest, Some(500)));
        let cached = list("limit=500&resourceVersion=0").unwrap();
        assert_eq!((cached.at, cached.limit), (At::Newest, None));
        let legacy = list("limit=5&resourceVersion=7").unwrap();
        assert_eq!(legacy.at, At::Exactly(7));
        assert_eq!(list("resourceVersion=7").unwrap().at, At::NotOlderThan(7));
        assert_eq!(list("resourceVersion=x").unwrap_err().status, 500);
        assert_eq!(
            list("resourceVersion=0&resourceVersionMatch=Exact")
                .unwrap_err()
                .status,
            422
        );
        assert_eq!(list("sendInitialEvents=true").unwrap_err().status, 422);
        assert_eq!(list("continue=AAAA").unwrap_err().status, 400);
    }

    #[test]
    fn a_watch_without_a_version_begins_with_what_there_is() {
        let watch = |query: &str, list| WatchOptions::parse(&Query::parse(query), list).unwrap();
        let legacy = watch(
            "watch=true&resourceVersion=0&allowWatchBookmarks=true",
            false,
        );
        assert!(legacy.initial && !legacy.initial_end);
        assert!(watch("watch=true&allowWatchBookmarks=true", true).initial_end);
        assert!(!watch("watch=true&resourceVersion=5", true).initial);
        let streaming = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let refused = WatchOptions::parse(&Query::parse(streaming), false).unwrap_err();
        assert_eq!(refused.status, 422);
        assert!(refused.body.contains("WatchList feature gate"));
    }

    #[test]
    fn a_token_is_the_one_that_was_recorded() {
        let page = Page {
            version: None,
            after: "app-backend/api-84c8c9d567-nwfhj".to_owned(),
        };
        let recorded = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYXBwLWJhY2tlbmQvYXB\
            pLTg0YzhjOWQ1NjctbndmaGpcdTAwMDAifQ";
        assert_eq!(Page::parse(recorded).unwrap(), page);
        assert_eq!(page.token(), recorded);
    }

    #[test]
    fn the_form_is_the_first_that_is_served() {
        assert_eq!(form(""), Some(Form::Whole));
        assert_eq!(
            form("application/json;as=Table;g=meta.k8s.io;v=v1, application/json"),
            Some(Form::Whole)
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Some(Form::Metadata)
        );
        assert_eq!(form("application/xml"), None);
    }
}
