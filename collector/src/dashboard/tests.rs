mod lists;
mod pictures;

use std::sync::Arc;

use plimsoll_wire::event::Heartbeat;
use plimsoll_wire::fate::Fates;
use serde_json::json;

use super::*;
use crate::api::{AccountingDocument, AuditQuery, AuditRecord, NodeStatus, StageRow};
use crate::history::series::tests::window;
use crate::history::{Fleet, Series};
use crate::inventory::{Resources, Role, Workload};
use crate::join::Names;
use crate::sizing;

const MINUTE_NS: u64 = 60_000_000_000;
/// 2026-01-05T00:00:00Z
const NOW: u64 = 1_767_571_200_000_000_000;

/// A series with names, of some minutes that end now.
pub(super) fn series(
    namespace: &str,
    workload: &str,
    container: &str,
    minutes: u64,
) -> (String, Arc<Series>) {
    let id = format!("{namespace}-{workload}-{container}");
    let first = NOW / MINUTE_NS - minutes;
    let mut series = Series::new("node-a", &window(&id, 0, 0, 0).identity);
    for minute in 0..minutes {
        series.add(
            "node-a",
            &window(
                &id,
                first + minute,
                100 + 10 * (minute % 7),
                (64 + minute) << 20,
            ),
        );
    }
    series.names = Some(Names {
        namespace: namespace.to_owned(),
        pod: format!("{workload}-0"),
        container: Some(container.to_owned()),
        node: Some("node-a".to_owned()),
        workload: Workload {
            kind: "Deployment".to_owned(),
            name: workload.to_owned(),
        },
        labels: std::collections::BTreeMap::new(),
        requests: Resources {
            cpu_millicores: Some(500),
            memory_bytes: Some(64 << 20),
            ..Resources::default()
        },
        limits: Resources {
            cpu_millicores: Some(1000),
            memory_bytes: Some(128 << 20),
            ..Resources::default()
        },
        role: Role::Main,
    });
    (id, Arc::new(series))
}

fn balance(emitted: u64) -> AccountingDocument {
    let row = StageRow {
        node: Some("node-a".to_owned()),
        stage: "spool".to_owned(),
        class: "security".to_owned(),
        destination: None,
        fates: Fates {
            emitted,
            delivered: 10,
            ..Fates::default()
        },
    };
    AccountingDocument::new(vec![row], NOW)
}

fn beat(node: &str, age_ns: u64, degraded: &[&str]) -> NodeStatus {
    let heartbeat = Heartbeat {
        agent_started_unix_ns: NOW - 100 * MINUTE_NS,
        boot_id: "b".to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.12.37".to_owned(),
        stages: vec![],
        degraded: degraded.iter().map(|reason| (*reason).to_owned()).collect(),
        containers: 12,
        agent_cpu_ns: Some(60_000_000_000),
        agent_rss_bytes: Some(14 << 20),
        ends: false,
    };
    NodeStatus {
        node: node.to_owned(),
        time_unix_ns: NOW - age_ns,
        heard_unix_ns: NOW - age_ns,
        heartbeat,
        two_agents_unix_ns: None,
    }
}

/// That a page says so; if not, which page, and how its content begins: a page is long.
#[track_caller]
pub(crate) fn says(page: &str, html: &str, words: &str) {
    assert!(
        html.contains(words),
        "{page} does not say `{words}`: {}",
        begin_of(html)
    );
}

fn begin_of(html: &str) -> String {
    let content = html
        .split_once("<main")
        .map_or(html, |(_, content)| content);
    content.chars().take(300).chain(['…']).collect()
}

fn overview_of(snapshot: Vec<(String, Arc<Series>)>, query: &OverviewQuery) -> String {
    let fleet = Fleet::group(snapshot, NOW);
    let report = sizing::report(&fleet, NOW);
    let nodes = [beat("node-a", 0, &[])];
    let accounting = balance(10);
    let data = OverviewData {
        report: &report,
        nodes: Some(&nodes),
        accounting: Some(&accounting),
    };
    overview(&data, query).into_string()
}

/// One element a line, so that a change of shape is a readable difference.
fn shape(html: &str) -> String {
    html.replace("><", ">\n<")
}

/// Ordered by something else, it would be taken for what was asked for.
#[test]
fn an_order_that_there_is_not_is_told() {
    let snapshot = || vec![series("shop", "api", "app", 5)];
    let query = |sort: &str| OverviewQuery {
        sort: Some(sort.to_owned()),
        ..OverviewQuery::default()
    };
    let html = overview_of(snapshot(), &query("<zzz>"));
    let told = "sort: there is no `&lt;zzz&gt;`; there are name, risk, waste";
    assert!(html.contains(told), "{}", begin_of(&html));
    assert!(!html.contains("<tbody>"));
    for sort in ["name", "risk", "waste"] {
        assert_eq!(query(sort).problem(), None);
        assert!(!overview_of(snapshot(), &query(sort)).contains("sort: "));
    }
}

#[test]
fn the_overview_keeps_its_shape() {
    let snapshot = vec![
        series("data", "kafka", "broker", 30),
        series("shop", "api", "app", 5),
        series("shop", "api", "envoy", 5),
    ];
    insta::assert_snapshot!(shape(&overview_of(snapshot, &OverviewQuery::default())));
}

#[test]
fn the_sums_say_whom_they_leave_out() {
    // Its first window was too short for a sample.
    let (id, named) = series("shop", "new", "app", 0);
    let mut new = Arc::unwrap_or_clone(named);
    let mut first = window(&id, NOW / MINUTE_NS - 1, 0, 0);
    (first.cpu, first.memory) = Default::default();
    new.add("node-a", &first);
    let html = overview_of(
        vec![series("shop", "api", "app", 5), (id, Arc::new(new))],
        &OverviewQuery::default(),
    );
    let words = ", all pods that run, without 1 container of which too little is known";
    assert_eq!(html.matches(words).count(), 2, "{}", begin_of(&html));
}

#[test]
fn what_is_set_and_not_known_is_not_called_none() {
    let (id, known) = series("shop", "api", "app", 5);
    let mut unknown = Arc::unwrap_or_clone(known);
    let names = unknown.names.as_mut().unwrap();
    (names.requests, names.limits) = Default::default();
    let of = |series: &Series| {
        let snapshot = vec![(id.clone(), Arc::new(series.clone()))];
        let fleet = Fleet::group(snapshot.clone(), NOW);
        let overview = overview_of(snapshot, &OverviewQuery::default());
        let page = workload(&[&fleet.containers[0]], "2026-01-05T00:00:00Z").into_string();
        [overview, page].map(|html| {
            let absent = |word| {
                html.matches(&format!("<span class=\"absent\">{word}</span>"))
                    .count()
            };
            (absent("none"), absent("unknown"))
        })
    };
    assert_eq!(of(&unknown), [(2, 0), (4, 0)]);
    let names = unknown.names.as_mut().unwrap();
    (names.requests.cpu_unknown, names.requests.memory_unknown) = (true, true);
    names.limits = names.requests;
    assert_eq!(of(&unknown), [(0, 2), (0, 4)]);
}

#[test]
fn a_workload_keeps_its_shape() {
    let fleet = Fleet::group(vec![series("shop", "api", "app", 6)], NOW);
    let containers: Vec<_> = fleet.workload("shop", "deployment", "api").collect();
    insta::assert_snapshot!(shape(
        &workload(&containers, "2026-01-05T00:00:00Z").into_string()
    ));
}

/// What is drawn and what is counted agree, and a window is called by its length.
#[test]
fn windows_are_called_by_their_length_and_what_counts_for_nothing_is_said() {
    let id = "shop-job-app";
    let (_, named) = series("shop", "job", "app", 0);
    let mut one = Arc::unwrap_or_clone(named);
    let short = |n: u64, observed_ns: u64| {
        let mut window = window(id, 0, 50, 64 << 20);
        window.start_unix_ns = NOW + n * 10_000_000_000;
        window.end_unix_ns = window.start_unix_ns + 10_000_000_000;
        window.observed_ns = observed_ns;
        window.cpu.used_ns = Some(500_000_000);
        window
    };
    for n in 0..3 {
        one.add("node-a", &short(n, 10_000_000_000));
    }
    one.add("node-a", &short(3, 1_000_000_000));
    let fleet = Fleet::group(vec![(id.to_owned(), Arc::new(one))], NOW);
    let containers: Vec<_> = fleet.workload("shop", "Deployment", "job").collect();
    let html = workload(&containers, "2026-01-05T00:00:00Z").into_string();
    for words in [
        "4 windows (each 10 s on average) of 1 pod over 40 s since",
        "provisional, 40 s of 24 h",
        "Provisional: 40 s seen of the 24 h",
        "<th scope=\"row\">window means</th><td class=\"num\">3</td>",
        "95 % of 3 window means (10 s on average) were",
        "too little is known of 1 window for a mean",
    ] {
        says("the workload", &html, words);
    }
    assert!(!html.contains("minute mean"), "{}", begin_of(&html));
}

#[test]
fn nodes_and_accounting_keep_their_shape() {
    let list = [
        beat("node-a", 0, &[]),
        beat("node-b", 0, &["psi: not in this kernel"]),
        beat("node-c", 10 * MINUTE_NS, &[]),
    ];
    let html = nodes(&list, &balance(11), NOW).into_string();
    assert!(html.contains("<strong>1</strong> record unaccounted for"));
    insta::assert_snapshot!(shape(&html));
}

/// However many nodes there are, the collector's own rows are there, and unbalanced ones first.
#[test]
fn the_accounting_of_many_nodes_leaves_the_collector_and_what_is_wrong() {
    let row = |node: Option<String>, stage: &str, delivered| StageRow {
        node,
        stage: stage.to_owned(),
        class: "security".to_owned(),
        destination: None,
        fates: Fates {
            emitted: 10,
            delivered,
            ..Fates::default()
        },
    };
    let mut rows: Vec<_> = (0..500)
        .map(|n| row(Some(format!("node-{n:03}")), "spool", 10))
        .collect();
    rows.push(row(Some("node-999".to_owned()), "audit", 9));
    rows.push(row(None, "journal", 10));
    let html = nodes(&[], &AccountingDocument::new(rows, NOW), NOW).into_string();
    let table = html.split_once("<tbody>").unwrap().1;
    let first = table.split_once("</tr>").unwrap().0;
    says("the first row", first, "node-999");
    let last = table
        .split_once("</tbody>")
        .unwrap()
        .0
        .rsplit_once("<tr>")
        .unwrap()
        .1;
    says("the last row", last, "<td>collector</td>");
    says("the nodes page", &html, "441 more rows in ");
}

#[test]
fn an_empty_collector_says_what_is_missing() {
    let html = overview_of(vec![], &OverviewQuery::default());
    says("the overview", &html, "No container has a name yet");
    let html = nodes(&[], &AccountingDocument::new(vec![], NOW), NOW).into_string();
    says("the nodes page", &html, "No agent has sent a heartbeat");
    let html = audit(&AuditQuery::default(), Ok((&[], false)), NOW).into_string();
    says("the audit page", &html, "No event matches");
}

#[test]
fn pages_of_a_large_fleet_stay_light_and_complete() {
    let snapshot: Vec<_> = (0..5_000)
        .map(|n| {
            series(
                &format!("namespace-{:03}", n / 25),
                &format!("workload-{n:05}"),
                "app",
                2,
            )
        })
        .collect();
    let first = overview_of(snapshot.clone(), &OverviewQuery::default());
    assert!(first.len() <= MAX_PAGE_BYTES, "{} bytes", first.len());
    assert!(
        first.contains("page 1 of 125, 5\u{202f}000 containers"),
        "no pager"
    );
    let last = overview_of(
        snapshot.clone(),
        &OverviewQuery {
            page: Some(9_999),
            ..OverviewQuery::default()
        },
    );
    assert!(last.contains("workload-04999") && last.len() <= MAX_PAGE_BYTES);
    let one = OverviewQuery {
        namespace: Some("namespace-007".to_owned()),
        q: Some("00180".to_owned()),
        ..OverviewQuery::default()
    };
    assert_eq!(
        overview_of(snapshot, &one)
            .matches("<tr><th scope=\"row\">")
            .count(),
        1
    );
}

#[test]
fn a_workload_of_many_pods_with_long_history_stays_light() {
    let snapshot: Vec<_> = (0..200)
        .map(|n| {
            let (key, mut one) = series("shop", "api", "app", 180);
            Arc::make_mut(&mut one).names.as_mut().unwrap().pod = format!("api-{n}");
            (format!("{key}-{n}"), one)
        })
        .collect();
    let fleet = Fleet::group(snapshot, NOW);
    let containers: Vec<_> = fleet.workload("shop", "Deployment", "api").collect();
    let html = workload(&containers, "2026-01-05T00:00:00Z").into_string();
    assert!(html.len() <= MAX_PAGE_BYTES, "{} bytes", html.len());
    assert!(html.contains("15 of 200"));
}

#[test]
fn events_are_escaped_bounded_and_filtered_by_form() {
    let record = |seq| {
        let mut record: AuditRecord = crate::api::tests::access(seq, NOW, "CRED", "shop");
        if let plimsoll_wire::AuditEvent::Imds(access) = &mut record.event {
            access.request.insert(
                "path".to_owned(),
                json!(format!("/<script>alert(1)</script>{}", "x".repeat(4000))),
            );
        }
        Arc::new(record)
    };
    let rows: Vec<_> = (0..AUDIT_ROWS as u64).map(record).collect();
    let query = AuditQuery {
        class: Some("CRED".to_owned()),
        namespace: Some("\"><b>".to_owned()),
        ..AuditQuery::default()
    };
    let html = audit(&query, Ok((&rows, true)), NOW).into_string();
    assert!(!html.contains("<script>") && !html.contains("<b>"));
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(html.contains("<option value=\"CRED\" selected>"));
    assert!(html.len() <= MAX_PAGE_BYTES, "{} bytes", html.len());
}

/// A late answer is shown, and its request is counted once.
#[test]
fn a_late_answer_is_no_request_of_its_own() {
    let record = |seq, fields: serde_json::Value| {
        let mut record: AuditRecord = crate::api::tests::access(seq, NOW, "CRED", "shop");
        if let plimsoll_wire::AuditEvent::Imds(access) = &mut record.event {
            access.request.extend(fields.as_object().unwrap().clone());
        }
        Arc::new(record)
    };
    let of = |outcome: &str, flags: &[&str]| json!({"outcome": outcome, "flags": flags, "request_id": "0f1e2d3c4b5a6978"});
    let rows = vec![
        record(2, of("ok", &["late_answer"])),
        record(1, of("no_response", &[])),
    ];
    let html = audit(&AuditQuery::default(), Ok((&rows, false)), NOW).into_string();
    assert!(html.contains("late_answer") && html.contains("no_response"));
    says("the audit page", &html, "hot\">1</td>");
}

/// Requests of version 1, and those that came to nothing, are counted by who made them.
#[test]
fn who_asks_without_a_token_or_in_vain_is_counted() {
    let record = |seq, version: &str, outcome: &str| {
        let mut record: AuditRecord = crate::api::tests::access(seq, NOW, "CRED", "shop");
        if let plimsoll_wire::AuditEvent::Imds(access) = &mut record.event {
            access
                .request
                .insert("imds_version".to_owned(), json!(version));
            access.request.insert("outcome".to_owned(), json!(outcome));
        }
        Arc::new(record)
    };
    let rows = [
        record(1, "v1", "ok"),
        record(2, "v1", "auth_failed"),
        record(3, "v2", "hop_limit_blocked"),
        record(4, "v2", "no_response"),
        record(5, "v1", "denied"),
    ];
    let html = audit(&AuditQuery::default(), Ok((&rows, false)), NOW).into_string();
    for words in [
        ">IMDSv1</th>",
        "<td class=\"num of\"><span class=\"tag bad\">3</span></td>\
         <td class=\"num of\"><span class=\"tag warn\">1</span></td>\
         <td class=\"num of\"><span class=\"tag warn\">3</span></td>",
    ] {
        says("the audit page", &html, words);
    }
}

#[test]
fn two_agents_of_one_name_are_shown_for_a_while() {
    let page = |age_ns| {
        let mut status = beat("node-a", 0, &[]);
        status.two_agents_unix_ns = Some(NOW - age_ns);
        nodes(&[status], &AccountingDocument::new(Vec::new(), NOW), NOW).into_string()
    };
    assert!(page(14 * MINUTE_NS).contains(">two agents</span>"));
    assert!(!page(15 * MINUTE_NS).contains("two agents"));
}
