//! Nodes and accounting: what each agent can see, and that no record is unexplained.

use maud::{Markup, html};
use plimsoll_wire::fate::Fates;

use super::format::{age, bytes_or, count, counted};
use super::{Place, layout};
use crate::api::accounting::AccountedRow;
use crate::api::{AccountingDocument, NodeStatus};
use crate::sizing::rfc3339;

/// A node that has said nothing for this long is called silent, seconds.
const SILENT_AFTER_S: u64 = 180;
/// Nodes listed: silent and degraded ones first.
const NODES: usize = 60;
/// Accounting rows of nodes listed, unbalanced ones first; those of the collector are always there.
const STAGES: usize = 60;

/// Renders the page.
pub fn nodes(nodes: &[NodeStatus], accounting: &AccountingDocument, now_unix_ns: u64) -> Markup {
    let mut listed: Vec<&NodeStatus> = nodes.iter().collect();
    listed.sort_by_key(|status| {
        let is_silent = status.silent_s(now_unix_ns) > SILENT_AFTER_S;
        let healthy = !is_silent && !status.has_two_agents(now_unix_ns);
        (
            healthy,
            status.heartbeat.degraded.is_empty(),
            status.node.clone(),
        )
    });
    let content = html! {
        h1 { "Nodes and accounting" }
        (law(accounting))
        section aria-labelledby="nodes" {
            h2 #nodes { "Nodes" }
            @if listed.is_empty() { p.empty { "No agent has sent a heartbeat yet." } }
            @else {
                div.scroll {
                    table.rows {
                        caption.sr { "Agents by node" }
                        thead { tr {
                            th scope="col" { "Node" } th scope="col" { "State" } th.num scope="col" { "Last heard" } th.num scope="col" { "Containers" }
                            th.num scope="col" { "Agent CPU" } th.num scope="col" { "Agent memory" } th scope="col" { "Kernel" } th scope="col" { "Version" } th scope="col" { "Switched off" }
                        } }
                        tbody { @for status in listed.iter().take(NODES) { (node(status, now_unix_ns)) } }
                    }
                }
                p.note { "A node that was not heard for a day is not listed any more." }
                @if listed.len() > NODES { p.note { (counted((listed.len() - NODES) as u64, "more node")) ", all healthy or listed in " a href="/api/v1/nodes" { "the JSON" } "." } }
            }
        }
        (stages(accounting))
    };
    layout(
        Place::Nodes,
        "Nodes and accounting",
        &rfc3339(now_unix_ns),
        &content,
    )
}

fn law(accounting: &AccountingDocument) -> Markup {
    html! {
        section class={ "law " @if accounting.balanced { "good" } @else { "bad" } } {
            p.big { strong { (count(accounting.unaccounted)) } @if accounting.unaccounted == 1 { " record unaccounted for" } @else { " records unaccounted for" } }
            p.note {
                "emitted = lost + undecodable + filtered + shed + expired + rejected + quarantined + delivered + in flight, "
                @if accounting.balanced { "true for each row below (" (accounting.stages.len()) ")." } @else { "not true for the rows marked below." }
            }
        }
    }
}

fn node(status: &NodeStatus, now_unix_ns: u64) -> Markup {
    let heartbeat = &status.heartbeat;
    let silent_s = status.silent_s(now_unix_ns);
    // The average since the agent's start: a share of one core. Both times are of the node's clock.
    let lived_ns = status
        .time_unix_ns
        .saturating_sub(heartbeat.agent_started_unix_ns);
    let cpu_share = heartbeat
        .agent_cpu_ns
        .filter(|_| lived_ns > 0)
        .map(|ns| ns as f64 / lived_ns as f64);
    html! {
        tr {
            th scope="row" { (status.node) }
            td {
                @if silent_s > SILENT_AFTER_S { span.badge.bad { "silent" } }
                @else if heartbeat.degraded.is_empty() { span.badge.good { "complete" } }
                @else { span.badge.warn { "partial" } }
                @if status.has_two_agents(now_unix_ns) { " " span.badge.bad title="two agents with spools of their own send under this name" { "two agents" } }
            }
            td.num { (age(silent_s)) " ago" }
            td.num { (count(heartbeat.containers)) }
            td.num { @match cpu_share { Some(share) => { (format!("{:.2}", share * 100.0)) " % of a core" } None => { span.absent { "unknown" } } } }
            td.num { (bytes_or(heartbeat.agent_rss_bytes, "unknown")) }
            td { (heartbeat.kernel) }
            td { (heartbeat.version) }
            td { @if heartbeat.degraded.is_empty() { span.absent { "nothing" } } @else { ul.plain { @for reason in heartbeat.degraded.iter().take(12) { li { (reason) } } } } }
        }
    }
}

/// As the document has them, but unbalanced ones first.
fn listed(accounting: &AccountingDocument) -> Vec<&AccountedRow> {
    let parted = accounting.stages.iter();
    let (mut rows, own): (Vec<_>, Vec<_>) = parted.partition(|row| row.row.node.is_some());
    rows.sort_by_key(|row| row.unaccounted == 0);
    rows.truncate(STAGES);
    rows.extend(own);
    rows.sort_by_key(|row| row.unaccounted == 0);
    rows
}

fn stages(accounting: &AccountingDocument) -> Markup {
    let rows = listed(accounting);
    let more = accounting.stages.len() - rows.len();
    let number = |value: u64| html! { td.num { @if value == 0 { span.absent { "0" } } @else { (count(value)) } } };
    html! {
        section aria-labelledby="stages" {
            h2 #stages { "Every record's fate" }
            @if rows.is_empty() { p.empty { "No stage has reported yet." } }
            @else {
                p.note { "Along the way that a record goes: the kernel's rings and files, the agent's audit and spool, the collector's ingest, journal and trail. " strong { "filtered" } " is no loss: kept out on purpose, because it has nothing to tell (a bare acknowledgement, an empty file), was told already, or is another program's record." }
                div.scroll {
                    table.rows.fates {
                        caption.sr { "Counts of each stage and class by fate" }
                        thead { tr {
                            th scope="col" { "Stage" } th scope="col" { "Class" } th scope="col" { "Node" }
                            @for name in ["emitted", "lost", "undecodable", "filtered", "shed", "expired", "rejected", "quarantined", "delivered", "in flight", "unaccounted"] { th.num scope="col" { (name) } }
                        } }
                        tbody {
                            @for row in rows {
                                tr {
                                    th scope="row" { (row.row.stage) @if let Some(destination) = &row.row.destination { " → " (destination) } }
                                    td { (row.row.class) }
                                    td { (row.row.node.as_deref().unwrap_or("collector")) }
                                    @for value in values(&row.row.fates) { (number(value)) }
                                    td class={ "num " @if row.unaccounted == 0 { "good" } @else { "bad" } } { (row.unaccounted) }
                                }
                            }
                        }
                    }
                }
                @if more > 0 { p.note { (counted(more as u64, "more row")) " in " a href="/api/v1/accounting" { "the JSON" } "." } }
            }
        }
    }
}

const fn values(fates: &Fates) -> [u64; 10] {
    [
        fates.emitted,
        fates.lost,
        fates.undecodable,
        fates.filtered,
        fates.shed,
        fates.expired,
        fates.rejected,
        fates.quarantined,
        fates.delivered,
        fates.in_flight,
    ]
}
