//! What was asked of a real API server is asked of ours, which holds the same objects: the answers
//! are the same but for versions, times and the tokens of pages.

use std::collections::BTreeMap;

use plimsoll_tests::apiserver::{
    API_AUDIENCE, ApiServer, COLLECTOR_TOKEN, Options, Rule, Token, User, recorded,
};
use serde_json::Value;

use super::{call, watch};

/// Recorded, but not what this server is for.
const NOT_SERVED: &[&str] = &[
    // Forms and selectors that Plimsoll does not use.
    "pods-table.json",
    "pods-label-selector.json",
    "watch/pods-label-selector.ndjson",
    // Kinds without a watch cache.
    "watch/events-compacted.ndjson",
    // There is no node authorizer.
    "auth/subjectaccessreview-node-denied.json",
    // What nobody but a test of faults asks for.
    "errors/429-priority-and-fairness.txt",
    "errors/429-priority-and-fairness-watch.txt",
];

/// Whose answers need another server than the one that all others share.
const APART: &[&str] = &[
    "discovery/apis-aggregated-stale.json",
    "errors/503-aggregated-api.txt",
    "errors/403-rbac-watch.json",
    "errors/403-nonresource.json",
];

fn entries() -> Vec<Value> {
    let index: Value = serde_json::from_str(&recorded::text("index.json").unwrap()).unwrap();
    index.as_array().unwrap().clone()
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_default()
}

/// A server with all that was recorded, in which a little has happened since.
fn cluster() -> ApiServer {
    let server = ApiServer::start(Options::default()).unwrap();
    server.load_recorded().unwrap();
    server.advance(1);
    for (kind, name) in [
        ("configmaps", "list"),
        ("configmaps", "get"),
        ("secrets", "list"),
    ] {
        server.deny(name, "", kind);
    }
    identify(&server);
    server
}

/// The tokens that were recorded, and what the real server said of them.
fn identify(server: &ApiServer) {
    let collector = User {
        uid: "ee671b07-bedf-496e-bac9-a82444008088".to_owned(),
        extra: [(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec!["JTI=94443fbd-2549-42e2-aa70-e887f25848e8".to_owned()],
        )]
        .into(),
        ..User::service_account("plimsoll", "plimsoll-collector")
    };
    let mut users: BTreeMap<String, Value> = BTreeMap::new();
    for entry in entries() {
        let bearer = text(&entry["requestHeaders"], "Authorization");
        let bearer = bearer.strip_prefix("Bearer ").unwrap_or_default();
        if entry["status"] != 401 && !bearer.is_empty() {
            server.token(bearer, Token::valid(collector.clone(), API_AUDIENCE));
        }
        let file = text(&entry, "file");
        if !file.starts_with("auth/tokenreview") || entry["status"] != 201 {
            continue;
        }
        let answer: Value = serde_json::from_str(&recorded::text(file).unwrap()).unwrap();
        let token = text(&answer["spec"], "token").to_owned();
        let error = text(&answer["status"], "error");
        if answer["status"]["authenticated"] == true {
            users.insert(token, answer["status"]["user"].clone());
        } else if error.contains("for the target audiences") {
            users.entry(token).or_default();
        } else if let Some(why) = error.strip_prefix("[invalid bearer token, ") {
            let why = why.trim_end_matches(']').to_owned();
            server.token(&token, Token::Refused(why));
        }
    }
    for (token, user) in users {
        let list = |value: &Value| -> Vec<String> {
            serde_json::from_value(value.clone()).unwrap_or_default()
        };
        let extra = user["extra"].as_object().into_iter().flatten();
        let told = User {
            name: text(&user, "username").to_owned(),
            uid: text(&user, "uid").to_owned(),
            groups: list(&user["groups"]),
            extra: extra.map(|(k, v)| (k.clone(), list(v))).collect(),
        };
        let audiences = audiences(&token);
        server.token(
            &token,
            Token::Valid {
                user: told,
                audiences,
            },
        );
    }
    let reasons = [
        Rule::group("team-shop")
            .may("get", "plimsoll.example.com", "sizing")
            .within("shop")
            .because(
                "RBAC: allowed by RoleBinding \"sizing-viewers/shop\" of Role \"sizing-viewer\" to \
                 Group \"team-shop\"",
            ),
        Rule::user("system:serviceaccount:plimsoll:plimsoll-collector")
            .may("watch", "", "pods")
            .because(
                "RBAC: allowed by ClusterRoleBinding \"plimsoll-collector\" of ClusterRole \
                 \"plimsoll-collector\" to ServiceAccount \"plimsoll-collector/plimsoll\"",
            ),
    ];
    for rule in reasons {
        server.allow(rule);
    }
}

/// `aud` of a JWT.
fn audiences(token: &str) -> Vec<String> {
    let payload = token.split('.').nth(1).unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in payload.chars() {
        bits = (bits << 6) | u32::try_from(alphabet.find(letter).unwrap()).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    let claims: Value = serde_json::from_slice(&bytes).unwrap();
    serde_json::from_value(claims["aud"].clone()).unwrap()
}

/// Without what differs between two servers: versions of lists, times, numbers in messages.
fn normal(body: &str) -> Value {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else {
        return body.trim_end().into();
    };
    if value["items"].is_array() {
        value["metadata"]["resourceVersion"] = "".into();
    }
    let review = value["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("Review"));
    if let Some(fields) = value["metadata"]["managedFields"]
        .as_array_mut()
        .filter(|_| review)
    {
        for field in fields.iter_mut() {
            field["time"] = "".into();
        }
    }
    if value["kind"] == "SelfSubjectReview" {
        value["metadata"]["creationTimestamp"] = "".into();
    }
    if let Some(message) = value["message"].as_str() {
        let words = message.split(|c: char| c.is_ascii_digit());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        value["message"] = words.join("N").into();
    }
    // Go gives the position in the text of the token, too.
    if value["metadata"].get("continue").is_some() && value["metadata"]["remainingItemCount"] == 59
    {
        value["metadata"]["continue"] = "".into();
    }
    value
}

/// Asks what was asked, and tells what differs.
fn differs(server: &ApiServer, entry: &Value) -> Option<String> {
    let (file, path) = (text(entry, "file"), text(entry, "path"));
    let mut headers: Vec<(&str, &str)> = vec![("User-Agent", "plimsoll-collector/test")];
    let bearer = format!("Bearer {COLLECTOR_TOKEN}");
    let given = entry["requestHeaders"].as_object().unwrap();
    headers.extend(given.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())));
    if !given.contains_key("Authorization") && file != "errors/403-anonymous.json" {
        headers.push(("Authorization", &bearer));
    }
    let body = match &entry["requestBody"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let answer = call(server, path, &headers, body.as_deref());
    let expected = recorded::text(file).unwrap();
    let kind = text(&entry["responseHeaders"], "Content-Type");
    let wait = entry["responseHeaders"]["Retry-After"].as_str();
    if answer.status != entry["status"] {
        return Some(format!("{file}: status {}: {}", answer.status, answer.body));
    }
    if answer.header("Content-Type") != Some(kind) || answer.header("Retry-After") != wait {
        return Some(format!("{file}: headers {:?}", answer.headers));
    }
    let (got, wanted) = (normal(&answer.body), normal(&expected));
    (got != wanted).then(|| format!("{file}:\n  got    {got}\n  wanted {wanted}"))
}

#[test]
fn recorded_requests_are_answered_as_they_were() {
    let server = cluster();
    let mut asked = 0;
    let mut different = Vec::new();
    for entry in entries() {
        let file = text(&entry, "file");
        let expired = file.starts_with("errors/410");
        if NOT_SERVED.contains(&file)
            || APART.contains(&file)
            || expired
            || file.starts_with("watch/")
        {
            continue;
        }
        asked += 1;
        different.extend(differs(&server, &entry));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(asked > 80, "{asked} recorded requests");
}

#[test]
fn versions_that_are_compacted_are_refused_as_they_were() {
    let server = cluster();
    server.advance(200);
    server.compact();
    let entries = entries()
        .into_iter()
        .filter(|e| text(e, "file").starts_with("errors/410"));
    let different: Vec<_> = entries
        .filter_map(|entry| differs(&server, &entry))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn what_is_denied_or_stale_is_told_as_it_was() {
    let server = cluster();
    server.deny("watch", "networking.k8s.io", "networkpolicies");
    server.deny_path("/metrics");
    server.set_stale("metrics.k8s.io", true);
    let entries = entries()
        .into_iter()
        .filter(|e| APART.contains(&text(e, "file")));
    let different: Vec<_> = entries
        .filter_map(|entry| differs(&server, &entry))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    server.finish().unwrap();
}

/// Lets happen what the recorded watch told, and reads it from ours.
fn replay(file: &str) {
    let all = entries();
    let entry = all.iter().find(|e| e["file"] == file).unwrap();
    let server = cluster();
    if file.starts_with("watch/networkpolicies") {
        server.advance(1303 - server.version());
    }
    let accept = text(&entry["requestHeaders"], "Accept");
    let mut lines = watch(&server, text(entry, "path"), accept);
    let events = recorded::text(file).unwrap();
    let events: Vec<Value> = events
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let is_end =
        |e: &Value| e["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
    let initial = events.iter().position(is_end).map_or(0, |at| at + 1);
    for (at, event) in events.iter().enumerate() {
        if at >= initial {
            happens(&server, event);
        }
        let line: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        let mut wanted = event.clone();
        if is_end(event) {
            let version = server.version().to_string();
            wanted["object"]["metadata"]["resourceVersion"] = version.into();
        }
        assert_eq!(line, wanted, "{file}, event {at}");
    }
}

fn happens(server: &ApiServer, event: &Value) {
    let object = &event["object"];
    let metadata = &object["metadata"];
    let version: u64 = text(metadata, "resourceVersion").parse().unwrap();
    match text(event, "type") {
        "BOOKMARK" => {
            server.advance(version.saturating_sub(server.version()));
            server.bookmark();
        }
        kind => {
            server.advance(version - 1 - server.version());
            let pods = object["kind"] != "NetworkPolicy";
            let (group, plural) = if pods {
                ("", "pods")
            } else {
                ("networking.k8s.io", "networkpolicies")
            };
            let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
            if kind == "DELETED" {
                server.delete(group, plural, namespace, name).unwrap();
            } else {
                let mut object = object.clone();
                if object["kind"] == "PartialObjectMetadata" {
                    object["kind"] = "Pod".into();
                    object["apiVersion"] = "v1".into();
                }
                server.apply(object).unwrap();
            }
        }
    }
}

#[test]
fn recorded_watches_tell_what_they_told() {
    for file in [
        "watch/pods-from-list.ndjson",
        "watch/pods-metadata-only.ndjson",
        "watch/pods-resource-version-0.ndjson",
        "watch/pods-streaming-list.ndjson",
        "watch/pods-streaming-list-empty.ndjson",
        "watch/networkpolicies.ndjson",
        "watch/networkpolicies-streaming-list.ndjson",
    ] {
        replay(file);
    }
}

#[test]
fn watches_of_other_times_are_refused_in_the_stream() {
    let server = cluster();
    let accept = "application/json";
    for file in [
        "watch/pods-version-too-large.ndjson",
        "watch/pods-too-old.ndjson",
        "watch/networkpolicies-too-old.ndjson",
    ] {
        let all = entries();
        let entry = all.iter().find(|e| e["file"] == file).unwrap();
        let events: Vec<_> = watch(&server, text(entry, "path"), accept).collect();
        assert_eq!(events.len(), 1, "{file}: the stream ends after the error");
        let without_numbers = |line: &str| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event["object"] = normal(&event["object"].to_string());
            event
        };
        let wanted = recorded::text(file).unwrap();
        assert_eq!(
            without_numbers(&events[0]),
            without_numbers(&wanted),
            "{file}"
        );
    }
}
