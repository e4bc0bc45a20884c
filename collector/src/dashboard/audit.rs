//! The audit page: who asked the metadata and credential endpoints for what, kills and losses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use maud::{Markup, html};
use plimsoll_wire::AuditEvent;
use plimsoll_wire::event::{
    AgentNotice, AgentState, ContainerEnd, ImdsAccess, Loss, Misplaced, OomKill,
};
use serde_json::Value;

use super::format::{count, counted, encoded, time_text};
use super::{Place, layout};
use crate::api::audit::{ALL, OTHER_CLASSES, REQUEST_CLASSES as CLASSES};
use crate::api::{AuditQuery, AuditRecord};
use crate::sizing::memory::mib;
use crate::sizing::rfc3339;

/// Rows of the table.
pub const AUDIT_ROWS: usize = 80;
/// Rows and columns of the workload × class picture.
const HEAT_ROWS: usize = 14;
/// Longest text of a cell, characters.
const MAX_CELL: usize = 96;

/// Renders the page: what was found, newest first, and whether there is more; or why there is nothing.
/// The picture counts what was found, the table shows as much of it as fits.
pub fn audit(
    query: &AuditQuery,
    found: Result<(&[Arc<AuditRecord>], bool), String>,
    now_unix_ns: u64,
) -> Markup {
    let content = html! {
        h1 { "Audit" }
        p.note { "Requests to instance metadata and Pod Identity, OOM kills and losses, newest first. The sink holds the full record; this page shows what is in memory." }
        (filter(query))
        @match found {
            Err(message) => { p.problem role="alert" { (message) } }
            Ok((all, more)) => {
                (heat(all, query, more))
                (table(all.get(..AUDIT_ROWS).unwrap_or(all)))
                @if more || all.len() > AUDIT_ROWS { p.note { "Older events exist: narrow the filter, or ask " code { "plimsoll audit query" } "." } }
            }
        }
    };
    layout(Place::Audit, "Audit", &rfc3339(now_unix_ns), &content)
}

fn filter(query: &AuditQuery) -> Markup {
    let class = query.class.as_deref().unwrap_or(ALL);
    let option = |value: &str, text: &str| html! { option value=(value) selected[class == value] { (text) } };
    html! {
        form.filter method="get" action="/audit" role="search" {
            label { "Class " select name="class" {
                (option(ALL, "all"))
                (option("imds", "every metadata request"))
                @for class in CLASSES { (option(class, class)) }
                (option("oom_kill", "OOM kills"))
                (option("container_end", "container ends"))
                (option("loss", "losses"))
                (option("misplaced", "records about pods elsewhere"))
                @if !known_class(class) { option value=(class) selected { (class) } }
            } }
            label { "Namespace " input name="namespace" value=[query.namespace.as_deref()]; }
            label { "Workload " input name="workload" value=[query.workload.as_deref()]; }
            label { "Since " input name="since" value=[query.since.as_deref()] placeholder="15m, 2h, or a time"; }
            button { "Show" }
        }
    }
}

fn known_class(class: &str) -> bool {
    CLASSES.contains(&class) || OTHER_CLASSES.contains(&class) || class == ALL
}

/// Whose an event is, in one text.
fn subject(record: &AuditRecord) -> String {
    record
        .name("subject")
        .map_or_else(|| format!("node {}", record.id.node), str::to_owned)
}

/// What one workload asked for.
#[derive(Default)]
struct Asked<'a> {
    classes: BTreeMap<&'a str, u64>,
    /// Without a session token.
    imds_v1: u64,
    /// The token did not get past the hop limit.
    blocked: u64,
    /// No answer in time, or one that is an error.
    failed: u64,
}

impl<'a> Asked<'a> {
    fn add(&mut self, class: &'a str, access: &ImdsAccess) {
        let text = |key: &str| access.request.get(key).and_then(Value::as_str);
        *self.classes.entry(class).or_default() += 1;
        self.imds_v1 += u64::from(text("imds_version") == Some("v1"));
        match text("outcome") {
            Some("ok") | None => {}
            Some("hop_limit_blocked") => self.blocked += 1,
            Some(_) => self.failed += 1,
        }
    }

    /// The most sensitive class that it touched.
    fn worst(&self) -> usize {
        let orders = self.classes.keys().map(|class| order(class));
        orders.min().unwrap_or(usize::MAX)
    }
}

/// Place of a class among those of requests.
fn order(class: &str) -> usize {
    let place = CLASSES.iter().position(|known| *known == class);
    place.unwrap_or(CLASSES.len())
}

/// Who asked for what, by workload; whoever touched the most sensitive class first, then the busiest.
fn by_workload(all: &[Arc<AuditRecord>]) -> Vec<(String, Asked<'_>)> {
    let mut asked: BTreeMap<String, Asked<'_>> = BTreeMap::new();
    for record in all {
        let AuditEvent::Imds(access) = &record.event else {
            continue;
        };
        if access.is_late_answer() {
            continue;
        }
        let who = match (record.name("namespace"), record.name("workload_name")) {
            (Some(namespace), Some(workload)) => format!("{namespace}/{workload}"),
            _ => subject(record),
        };
        asked.entry(who).or_default().add(record.class(), access);
    }
    let mut rows: Vec<_> = asked.into_iter().collect();
    rows.sort_by_key(|(_, asked)| {
        let number = asked.classes.values().sum::<u64>();
        (asked.worst(), std::cmp::Reverse(number))
    });
    rows
}

/// How many requests of each class each workload made, and how they ended. Whether there are `older`
/// events that are not among them.
fn heat(all: &[Arc<AuditRecord>], query: &AuditQuery, older: bool) -> Markup {
    let rows = by_workload(all);
    let numbers = || rows.iter().flat_map(|(_, asked)| &asked.classes);
    let Some(top) = numbers().map(|(_, number)| *number).max() else {
        return html! {};
    };
    let columns: BTreeSet<(usize, &str)> =
        numbers().map(|(class, _)| (order(class), *class)).collect();
    let more = rows.len().saturating_sub(HEAT_ROWS);
    html! {
        section aria-labelledby="heat" {
            h2 #heat { "Who asks for what" }
            div.scroll {
                table.heat {
                    caption.sr { "Metadata requests by workload and class, and how they ended" }
                    thead { tr {
                        th scope="col" { "Workload" }
                        @for (_, class) in &columns { th.num scope="col" { (class) } }
                        th.num.of scope="col" title="requests without a session token" { "IMDSv1" }
                        th.num.of scope="col" title="the session token did not get past the hop limit" { "blocked" }
                        th.num.of scope="col" title="no answer in time, or an error" { "failed" }
                    } }
                    tbody { @for (who, asked) in rows.iter().take(HEAT_ROWS) { (heat_row(who, asked, &columns, top)) } }
                }
            }
            @if older { p.note { "Counted are the newest " (count(all.len() as u64)) " events that match, not the older ones." } }
            @if more > 0 { p.note { (counted(more as u64, "more workload")) @if query.namespace.is_none() { ": filter by namespace" } "." } }
        }
    }
}

fn heat_row(who: &str, asked: &Asked<'_>, columns: &BTreeSet<(usize, &str)>, top: u64) -> Markup {
    html! {
        tr {
            th scope="row" { (cut(who)) }
            @for (order, class) in columns {
                @match asked.classes.get(class) {
                    Some(number) => { td class={ "num h" (level(*number, top)) @if *order < 4 { " hot" } } { (count(*number)) } }
                    None => { td.num { span.absent { "·" } } }
                }
            }
            @for (number, mark) in [(asked.imds_v1, "bad"), (asked.blocked, "warn"), (asked.failed, "warn")] {
                td.num.of { @if number == 0 { span.absent { "·" } } @else { span class={ "tag " (mark) } { (count(number)) } } }
            }
        }
    }
}

/// A shade from 1 to 5, logarithmic: one credential read must not look like none.
fn level(number: u64, top: u64) -> u32 {
    let share = f64::ln(number as f64 + 1.0) / f64::ln(top as f64 + 1.0);
    match share {
        s if s < 0.25 => 1,
        s if s < 0.5 => 2,
        s if s < 0.7 => 3,
        s if s < 0.9 => 4,
        _ => 5,
    }
}

fn table(rows: &[Arc<AuditRecord>]) -> Markup {
    if rows.is_empty() {
        return html! { p.empty { "No event matches." } };
    }
    html! {
        section aria-labelledby="events" {
            h2 #events { "Events" }
            div.scroll role="region" aria-label="Events" tabindex="0" {
                table.rows.events {
                    caption.sr { "Audit events, newest first" }
                    thead { tr {
                        th scope="col" { "Time" } th scope="col" { "Who" } th scope="col" { "Process" }
                        th scope="col" { "Class" } th scope="col" { "What" } th scope="col" { "Outcome" } th scope="col" { "Flags" }
                    } }
                    tbody { @for record in rows { (row(record)) } }
                }
            }
        }
    }
}

fn row(record: &AuditRecord) -> Markup {
    let time = rfc3339(record.time_unix_ns);
    html! {
        tr {
            td.time { time datetime=(time) title={ (record.id) } { (time_text(&time).trim_end_matches(" UTC")) } }
            th scope="row" {
                @match (record.name("namespace"), record.name("workload_name")) {
                    (Some(namespace), Some(workload)) => { a href={ "/audit?namespace=" (encoded(namespace)) "&workload=" (encoded(workload)) } { (cut(&subject(record))) } }
                    _ => { (cut(&subject(record))) }
                }
                @if record.names.contains_key("name_pending") { " " span.badge { "name pending" } }
            }
            @match &record.event {
                AuditEvent::Imds(access) => { (access_cells(record, access)) }
                AuditEvent::OomKill(kill) => { (oom_cells(kill)) }
                AuditEvent::ContainerEnd(end) => { (end_cells(end)) }
                AuditEvent::Loss(loss) => { (loss_cells(loss)) }
                AuditEvent::Misplaced(found) => { (misplaced_cells(found)) }
                AuditEvent::Agent(notice) => { (agent_cells(notice)) }
                AuditEvent::Heartbeat(_) => { td colspan="5" { "heartbeat" } }
            }
        }
    }
}

fn access_cells(record: &AuditRecord, access: &ImdsAccess) -> Markup {
    let text = |key: &str| access.request.get(key).and_then(Value::as_str);
    let status = access.request.get("status").and_then(Value::as_u64);
    let flags: Vec<&str> = access
        .request
        .get("flags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let class = record.class();
    let version = text("imds_version").unwrap_or("unknown");
    let outcome = text("outcome").unwrap_or("unknown");
    html! {
        td { @match &access.process {
            Some(process) => {
                span title=[process.cmdline.as_deref().or(process.exe.as_deref()).map(cut)] { (process.comm.as_deref().unwrap_or("unnamed")) }
                " " span.kind { (process.pid) }
            }
            None => { span.absent { "before the agent" } }
        } }
        td.tags {
            span class={ "tag" @if ["CRED", "CRED_LIST", "SECRET_CFG"].contains(&class) { " hot" } } { (class) }
            @if version != "none" { " " span class={ "tag" @if version == "v1" { " bad" } } { (version) } }
        }
        td.mono { (text("method").unwrap_or("–")) " " (cut(text("path").unwrap_or("–"))) }
        td.tags {
            @if let Some(status) = status { (status) " " }
            span class={ "tag" @if outcome != "ok" { " warn" } } { (outcome) }
        }
        td.flags { (cut(&flags.join(", "))) }
    }
}

fn oom_cells(kill: &OomKill) -> Markup {
    html! {
        td { (kill.victim_comm.as_deref().unwrap_or("unnamed")) " " span.kind { (kill.victim_pid) } }
        td { span.tag.bad { "OOM kill" } }
        td colspan="3" {
            @match kill.anon_rss_bytes { Some(bytes) => { "held " (mib(bytes)) " of anonymous memory" } None => { span.absent { "memory unknown" } } }
            @if let Some(bytes) = kill.memory_peak_bytes { "; container's peak " (mib(bytes)) }
            @if let Some(bytes) = kill.memory_limit_bytes { ", limit " (mib(bytes)) }
            @if kill.identity_is_trigger { "; the cgroup is that of the task that asked for memory" }
        }
    }
}

fn end_cells(end: &ContainerEnd) -> Markup {
    html! {
        td {}
        td { span.tag { "ended" } }
        td colspan="3" {
            @match end.cpu_used_ns { Some(ns) => { "used " (format!("{:.3}", ns as f64 / 1e9)) " s of CPU" } None => { "CPU unknown" } }
            @if let Some(bytes) = end.memory_peak_bytes { ", peak " (mib(bytes)) }
        }
    }
}

fn loss_cells(loss: &Loss) -> Markup {
    html! {
        td {}
        td { span.tag.bad { "loss" } }
        td colspan="3" { (counted(loss.count, &format!("{} record", loss.lost_class.as_str()))) " " (loss.fate) " at " (loss.stage) }
    }
}

fn misplaced_cells(found: &Misplaced) -> Markup {
    html! {
        td {}
        td { span.tag.bad { "misplaced" } }
        td colspan="3" {
            (found.sender) " sent " (counted(found.count, "record")) " about pods on other nodes; the first is "
            (found.pod_uid) " on " (found.pod_node)
        }
    }
}

fn agent_cells(notice: &AgentNotice) -> Markup {
    let is_bad = matches!(notice.state, AgentState::Silent | AgentState::Rewound);
    html! {
        td {}
        td { span class={ "tag" @if is_bad { " bad" } } { "agent " (notice.state.as_str()) } }
        td colspan="3" {
            "agent of " (notice.agent_node)
            @match notice.state {
                AgentState::Silent => { ", not heard for " (notice.silent_s.unwrap_or_default()) " s" }
                AgentState::Back => { ", heard again after " (notice.silent_s.unwrap_or_default()) " s" }
                AgentState::Left => { ", whose node is there no more" }
                AgentState::Rewound => { " sent number " (notice.seq.unwrap_or_default()) " after " (notice.last_seq) }
            }
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CELL {
        return text.to_owned();
    }
    text.chars().take(MAX_CELL - 1).chain(['…']).collect()
}
