//! The overview: the fleet in four numbers, namespaces, and every container with what is set
//! against what is advised.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Deserialize;

use super::format::{bytes_or, count, counted, cpu, cpu_or, encoded, workload_href};
use super::totals::totals;
use super::{Place, chart, layout};
use crate::api::{AccountingDocument, NodeStatus};
use crate::sizing::memory::mib;
use crate::sizing::{Fit, Level, Recommendation, Report, Setting};

/// Rows of one page.
pub(super) const ROWS: usize = 40;
/// What rows can be ordered by.
const ORDERS: [&str; 3] = ["name", "risk", "waste"];
/// Namespaces that are listed.
const NAMESPACES: usize = 60;
/// Host services that are listed, and containers without a name.
const HOSTS: usize = 25;

/// What the page shows.
pub struct OverviewData<'a> {
    /// Recommendations.
    pub report: &'a Report,
    /// Last heartbeats; `None` for who may not see them.
    pub nodes: Option<&'a [NodeStatus]>,
    /// The law; `None` likewise.
    pub accounting: Option<&'a AccountingDocument>,
}

/// Filter, order and page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverviewQuery {
    /// One namespace.
    pub namespace: Option<String>,
    /// Part of a workload's or container's name.
    pub q: Option<String>,
    /// `name` (default), `risk` or `waste`.
    pub sort: Option<String>,
    /// From 1.
    pub page: Option<usize>,
}

impl OverviewQuery {
    /// The one namespace that is asked for.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|text| !text.is_empty())
    }

    fn sort(&self) -> &str {
        self.sort
            .as_deref()
            .filter(|sort| ORDERS.contains(sort))
            .unwrap_or("name")
    }

    /// What is asked for that there is not.
    pub fn problem(&self) -> Option<String> {
        let sort = self.sort.as_deref().filter(|sort| !ORDERS.contains(sort))?;
        Some(format!(
            "sort: there is no `{sort}`; there are {}",
            ORDERS.join(", ")
        ))
    }

    fn matches(&self, found: &Recommendation) -> bool {
        let part = self.q.as_deref().unwrap_or_default().trim();
        self.namespace()
            .is_none_or(|namespace| namespace == found.namespace)
            && (part.is_empty() || found.workload.contains(part) || found.container.contains(part))
    }

    fn href(&self, page: usize) -> String {
        let parameter = |name: &str, value: Option<&str>| {
            value
                .filter(|v| !v.is_empty())
                .map_or(String::new(), |v| format!("{name}={}&", encoded(v)))
        };
        format!(
            "/?{}{}{}page={page}",
            parameter("namespace", self.namespace()),
            parameter("q", self.q.as_deref()),
            parameter("sort", self.sort.as_deref()),
        )
    }
}

/// Renders the page.
pub fn overview(data: &OverviewData<'_>, query: &OverviewQuery) -> Markup {
    let mut rows: Vec<&Recommendation> = data
        .report
        .recommendations
        .iter()
        .filter(|r| query.matches(r))
        .collect();
    match query.sort() {
        "risk" => rows.sort_by_key(|r| std::cmp::Reverse(r.assessment.risks.len())),
        "waste" => rows.sort_by_key(|r| std::cmp::Reverse(weight(r))),
        _ => {}
    }
    let pages = rows.len().div_ceil(ROWS).max(1);
    let page = query.page.unwrap_or(1).clamp(1, pages);
    let shown: Vec<&Recommendation> = rows
        .iter()
        .skip((page - 1) * ROWS)
        .take(ROWS)
        .copied()
        .collect();
    let content = html! {
        h1 { "Workloads" }
        (summary(data))
        @if data.report.recommendations.is_empty() {
            (nothing_yet(data))
        } @else {
            (namespaces(data.report, query))
            (filter(query))
            @if let Some(problem) = query.problem() {
                p.problem role="alert" { (problem) }
            } @else {
                (table(&shown, query))
                (pager(query, page, pages, rows.len()))
            }
        }
        (unnamed(data.report))
        (hosts(data.report))
    };
    layout(Place::Overview, "Workloads", &data.report.as_of, &content)
}

/// Waste in one number: a core is taken as four GiB, the ratio of general-purpose machines. A part
/// that is not known adds nothing; where none is known, it stands behind what wastes nothing.
fn weight(found: &Recommendation) -> Option<u64> {
    let cpu = found.assessment.waste_millicores;
    let memory = found.assessment.waste_bytes.map(|bytes| bytes / (4 << 20));
    cpu.into_iter().chain(memory).reduce(u64::saturating_add)
}

fn nothing_yet(data: &OverviewData<'_>) -> Markup {
    html! {
        section.empty {
            h2 { "No container has a name yet" }
            p {
                "Usage is shown here once an agent has closed its first window (one minute, unless it is set otherwise) and the inventory names its pods. "
                "Containers waiting for a name: " (count(data.report.unnamed.len() as u64))
                @if let Some(nodes) = data.nodes { "; nodes that have reported: " (count(nodes.len() as u64)) }
                "."
            }
        }
    }
}

fn summary(data: &OverviewData<'_>) -> Markup {
    let [of_cpu, of_memory] = totals(data.report);
    let left_out = |containers: u64| {
        html! { @if containers > 0 { ", without " (counted(containers, "container")) " of which too little is known" } }
    };
    let at_risk = data
        .report
        .recommendations
        .iter()
        .filter(|r| !r.assessment.risks.is_empty())
        .count() as u64;
    let provisional = data
        .report
        .recommendations
        .iter()
        .filter(|r| r.confidence.level == Level::Provisional)
        .count() as u64;
    html! {
        section.cards aria-label="Fleet summary" {
            div.card {
                h2 { "CPU requests" }
                p.big { (cpu(of_cpu.now)) span.arrow { " → " } strong { (cpu(of_cpu.advised)) } }
                p.note { (change(of_cpu.now, of_cpu.advised)) ", all pods that run" (left_out(of_cpu.left_out)) }
            }
            div.card {
                h2 { "Memory requests" }
                p.big { (mib(of_memory.now)) span.arrow { " → " } strong { (mib(of_memory.advised)) } }
                p.note { (change(of_memory.now, of_memory.advised)) ", all pods that run" (left_out(of_memory.left_out)) }
            }
            div.card {
                h2 { "Containers" }
                p.big { strong { (count(data.report.recommendations.len() as u64)) } }
                p.note {
                    @if at_risk > 0 { a href="/?sort=risk" { (count(at_risk)) " with a risk" } } @else { "none with a risk" }
                    ", " (count(provisional)) " provisional"
                }
            }
            @if let Some(nodes) = data.nodes { (nodes_card(nodes, data.accounting)) }
        }
    }
}

fn nodes_card(nodes: &[NodeStatus], accounting: Option<&AccountingDocument>) -> Markup {
    let degraded = nodes
        .iter()
        .filter(|n| !n.heartbeat.degraded.is_empty())
        .count() as u64;
    html! {
        div.card {
            h2 { "Nodes" }
            p.big { strong { (count(nodes.len() as u64)) } }
            p.note {
                @if degraded > 0 { a href="/nodes" { (count(degraded)) " with something switched off" } }
                @if let Some(accounting) = accounting {
                    @if degraded > 0 { ", " }
                    @if accounting.balanced {
                        span.good { "0 records unaccounted for" }
                    } @else {
                        a.bad href="/nodes" { (count(accounting.unaccounted)) " records unaccounted for" }
                    }
                }
            }
        }
    }
}

fn change(now: u64, advised: u64) -> String {
    if now == 0 {
        return "nothing is requested today".to_owned();
    }
    let percent = (advised as f64 - now as f64) / now as f64 * 100.0;
    match percent {
        p if p < -0.5 => format!("{:.0} % less", -p),
        p if p > 0.5 => format!("{p:.0} % more"),
        _ => "about the same".to_owned(),
    }
}

fn namespaces(report: &Report, query: &OverviewQuery) -> Markup {
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    for recommendation in &report.recommendations {
        *found.entry(&recommendation.namespace).or_default() += 1;
    }
    let more = found.len().saturating_sub(NAMESPACES);
    html! {
        nav.chips aria-label="Namespaces" {
            ul {
                li { a href="/" aria-current=[query.namespace().is_none().then_some("true")] { "all namespaces" } }
                @for (namespace, containers) in found.iter().take(NAMESPACES) {
                    li {
                        a href={ "/?namespace=" (encoded(namespace)) } aria-current=[(query.namespace() == Some(namespace)).then_some("true")] {
                            (namespace) " " span.n { (containers) }
                        }
                    }
                }
                @if more > 0 { li { "and " (more) " more" } }
            }
        }
    }
}

fn filter(query: &OverviewQuery) -> Markup {
    let option = |value: &str, text: &str| {
        html! { option value=(value) selected[query.sort() == value] { (text) } }
    };
    html! {
        form.filter method="get" action="/" role="search" {
            @if let Some(namespace) = query.namespace() { input type="hidden" name="namespace" value=(namespace); }
            label { "Name " input type="search" name="q" value=[query.q.as_deref()] placeholder="workload or container"; }
            label { "Order " select name="sort" { (option("name", "by name")) (option("risk", "risk first")) (option("waste", "waste first")) } }
            button { "Show" }
            p.legend aria-hidden="true" {
                span.k.usual { "p50 used" } span.k.peak { "peak used" } span.k.now { "request now" } span.k.advised { "recommended" }
            }
        }
    }
}

fn table(rows: &[&Recommendation], query: &OverviewQuery) -> Markup {
    let grouped = query.sort() == "name";
    html! {
        div.scroll role="region" aria-label="Containers" tabindex="0" {
            table.rows {
                caption.sr { "Containers with their present and recommended requests" }
                thead {
                    tr {
                        th scope="col" { "Workload" }
                        th scope="col" { "Container" }
                        th.num scope="col" { "Pods" }
                        th.num scope="col" { "CPU now" }
                        th.num scope="col" { "advised" }
                        th scope="col" { span.sr { "CPU picture" } }
                        th.num scope="col" { "Memory now" }
                        th.num scope="col" { "advised" }
                        th scope="col" { span.sr { "Memory picture" } }
                        th scope="col" { "State" }
                    }
                }
                tbody {
                    @for (index, found) in rows.iter().enumerate() {
                        @let before = index.checked_sub(1).and_then(|i| rows.get(i));
                        @if grouped && before.is_none_or(|b| b.namespace != found.namespace) {
                            tr.group { th colspan="10" scope="colgroup" { (found.namespace) } }
                        }
                        (row(found, before.is_some_and(|b| same_workload(b, found)), grouped))
                    }
                }
            }
        }
        @if rows.is_empty() { p { "Nothing matches." } }
    }
}

fn same_workload(a: &Recommendation, b: &Recommendation) -> bool {
    (&a.namespace, &a.kind, &a.workload) == (&b.namespace, &b.kind, &b.workload)
}

fn row(found: &Recommendation, repeated: bool, grouped: bool) -> Markup {
    let (current, assessment) = (&found.current, &found.assessment);
    html! {
        tr {
            th scope="row" {
                @if repeated {
                    span.sr { (found.workload) }
                } @else {
                    a href=(workload_href(&found.namespace, &found.kind, &found.workload)) { (found.workload) }
                    " " span.kind { @if !grouped { (found.namespace) " · " } (found.kind) }
                }
            }
            td { (found.container) @if found.role != crate::inventory::Role::Main { " " span.kind { (role(found)) } } }
            td.num { (found.replicas) }
            td.num { (cpu_or(current.request_millicores, current.absent(Setting::RequestMillicores))) }
            td class={ "num fit-" (fit_class(assessment.cpu)) } { (cpu_or(found.cpu.request_millicores, "–")) }
            td { (chart::fit_bar(&cpu_bar(found))) }
            td.num { (bytes_or(current.request_bytes, current.absent(Setting::RequestBytes))) }
            td class={ "num fit-" (fit_class(assessment.memory)) } { (bytes_or(found.memory.request_bytes, "–")) }
            td { (chart::fit_bar(&memory_bar(found))) }
            td { (badges(found)) }
        }
    }
}

/// The container's part in words.
pub(super) fn role(found: &Recommendation) -> &'static str {
    match found.role {
        crate::inventory::Role::Main => "main",
        crate::inventory::Role::Init => "init",
        crate::inventory::Role::Sidecar => "sidecar",
        crate::inventory::Role::Ephemeral => "debug",
    }
}

fn fit_class(fit: Fit) -> &'static str {
    match fit {
        Fit::Under | Fit::Unset => "under",
        Fit::Over => "over",
        Fit::Fits | Fit::Unknown => "ok",
    }
}

/// The CPU picture of a container.
pub(super) fn cpu_bar(found: &Recommendation) -> chart::FitBar {
    let seconds = &found.cpu.statistics.seconds;
    let known = |value: Option<u64>| value.map_or("none".to_owned(), cpu);
    let set = found.current.request_millicores;
    let absent = found.current.absent(Setting::RequestMillicores);
    chart::FitBar {
        now: set,
        advised: found.cpu.request_millicores,
        usual: seconds.p50_millicores,
        peak: seconds.p99_millicores,
        title: format!(
            "CPU request {}, recommended {}; seconds: median {}, p99 {}",
            set.map_or(absent.to_owned(), cpu),
            known(found.cpu.request_millicores),
            known(seconds.p50_millicores),
            known(seconds.p99_millicores),
        ),
    }
}

/// The memory picture of a container.
pub(super) fn memory_bar(found: &Recommendation) -> chart::FitBar {
    let peaks = &found.memory.peaks;
    let peak = peaks.working_set_bytes.or(peaks.sampled_bytes);
    let known = |value: Option<u64>| value.map_or("none".to_owned(), mib);
    let set = found.current.request_bytes;
    let absent = found.current.absent(Setting::RequestBytes);
    chart::FitBar {
        now: set,
        advised: found.memory.request_bytes,
        usual: peaks.anon_bytes,
        peak,
        title: format!(
            "Memory request {}, recommended {}; peak {}, of it anonymous {}",
            set.map_or(absent.to_owned(), mib),
            known(found.memory.request_bytes),
            known(peak),
            known(peaks.anon_bytes),
        ),
    }
}

/// Provisional, risks, fit.
pub(super) fn badges(found: &Recommendation) -> Markup {
    let risks = &found.assessment.risks;
    html! {
        @match found.confidence.level {
            Level::NotEnough => { span.badge.warn { (found.confidence.words()) } }
            Level::Provisional => { span.badge title=(found.confidence.reasons.join("; ")) { (found.confidence.words()) } }
            Level::Settled => {}
        }
        @if !risks.is_empty() {
            " " span.badge.bad title=(risks.join("; ")) { (counted(risks.len() as u64, "risk")) }
        }
    }
}

fn pager(query: &OverviewQuery, page: usize, pages: usize, rows: usize) -> Markup {
    if pages == 1 {
        return html! {};
    }
    html! {
        nav.pager aria-label="Pages" {
            @if page > 1 { a rel="prev" href=(query.href(page - 1)) { "← previous" } }
            span { "page " (page) " of " (pages) ", " (counted(rows as u64, "container")) }
            @if page < pages { a rel="next" href=(query.href(page + 1)) { "next →" } }
        }
    }
}

fn unnamed(report: &Report) -> Markup {
    if report.unnamed.is_empty() {
        return html! {};
    }
    html! {
        details {
            summary { (counted(report.unnamed.len() as u64, "container")) " without a name in the inventory" }
            div.scroll {
                table.rows {
                    thead { tr { th scope="col" { "Pod" } th scope="col" { "Container id" } th scope="col" { "Node" } th.num scope="col" { "Windows" } th.num scope="col" { "CPU p99" } th.num scope="col" { "Memory peak" } } }
                    tbody {
                        @for found in report.unnamed.iter().take(HOSTS) {
                            tr {
                                td {
                                    @match (&found.namespace, &found.pod) {
                                        (Some(namespace), Some(pod)) => { (namespace) "/" (pod) }
                                        _ => { span.mono { (found.pod_uid.as_deref().unwrap_or("unknown")) } }
                                    }
                                }
                                td.mono { (found.container_id.as_deref().unwrap_or("unknown").chars().take(12).collect::<String>()) }
                                td { (found.node) }
                                td.num { (count(found.windows)) }
                                td.num { (cpu_or(found.cpu_seconds.p99_millicores, "–")) }
                                td.num { (bytes_or(found.memory_peak_bytes, "–")) }
                            }
                        }
                    }
                }
            }
            (more(report.unnamed.len()))
        }
    }
}

/// How many of them the table has no row for.
fn more(all: usize) -> Markup {
    let more = all.saturating_sub(HOSTS);
    html! {
        @if more > 0 { p.note { "and " (count(more as u64)) " more in " a href="/api/v1/sizing" { "the JSON" } "." } }
    }
}

fn hosts(report: &Report) -> Markup {
    if report.hosts.is_empty() {
        return html! {};
    }
    html! {
        details {
            summary { (count(report.hosts.len() as u64)) @if report.hosts.len() == 1 { " host service or cgroup outside pods" } @else { " host services and cgroups outside pods" } }
            div.scroll {
                table.rows {
                    thead { tr { th scope="col" { "Unit" } th scope="col" { "Node" } th.num scope="col" { "CPU p50" } th.num scope="col" { "CPU max" } th.num scope="col" { "Memory peak" } } }
                    tbody {
                        @for host in report.hosts.iter().take(HOSTS) {
                            tr {
                                th scope="row" { (host.unit) }
                                td { (host.node) }
                                td.num { (cpu_or(host.cpu_seconds.p50_millicores, "–")) }
                                td.num { (cpu_or(host.cpu_seconds.max_millicores, "–")) }
                                td.num { (bytes_or(host.memory_peak_bytes, "–")) }
                            }
                        }
                    }
                }
            }
            (more(report.hosts.len()))
        }
    }
}
