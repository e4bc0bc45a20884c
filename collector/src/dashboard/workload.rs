//! One workload: each container's numbers, pictures, explanation and the YAML to paste.

use maud::{Markup, html};

use super::chart::{self, Lines, Mark};
use super::format::{bytes_or, count, counted, cpu, cpu_or, encoded, known_or, percent, time_text};
use super::overview::{badges, role};
use super::{Place, layout};
use crate::history::usage::{Point, Stalls};
use crate::history::{ContainerHistory, Usage};
use crate::sizing::cpu::means_named;
use crate::sizing::memory::mib;
use crate::sizing::{self, Quantiles, Recommendation, Setting, hours};

/// Containers shown in full; a pod with more is rare and would make the page heavy.
const CONTAINERS: usize = 5;
/// Pods listed, hottest first.
const PODS: usize = 15;

/// Renders the page of a workload with at least one container.
pub fn workload(containers: &[&ContainerHistory], as_of: &str) -> Markup {
    let Some(first) = containers.first() else {
        return super::missing("This workload has no container.");
    };
    let (kind, name) = (&first.workload.kind, &first.workload.name);
    let content = html! {
        nav.crumbs aria-label="Breadcrumb" {
            a href="/" { "Workloads" } " / " a href={ "/?namespace=" (encoded(&first.namespace)) } { (first.namespace) }
        }
        h1 { (name) " " span.kind { (kind) } }
        @for container in containers.iter().take(CONTAINERS) { (section(container)) }
        @if containers.len() > CONTAINERS {
            p { (counted((containers.len() - CONTAINERS) as u64, "more container")) ": " a href={ "/api/v1/sizing/" (encoded(&first.namespace)) "/" (encoded(kind)) "/" (encoded(name)) } { "all as JSON" } "." }
        }
    };
    layout(Place::Overview, name, as_of, &content)
}

fn section(container: &ContainerHistory) -> Markup {
    let advice = sizing::recommend(container);
    let usage = &container.total;
    let id = format!("c-{}", advice.container);
    html! {
        section.container aria-labelledby=(id) {
            h2 #(id) {
                (advice.container)
                @if advice.role != crate::inventory::Role::Main { " " span.kind { (role(&advice)) } }
                " " (badges(&advice))
            }
            p.note { (coverage_words(&advice, usage)) }
            div.split {
                (numbers(&advice))
                (yaml(&advice))
            }
            (distribution(&advice, usage))
            div.split {
                (recent_cpu(&advice, usage))
                (recent_memory(&advice, usage))
            }
            div.split.stats {
                (statistics(&advice, usage))
                (memory_kinds(&advice))
                (waiting(&advice, usage))
            }
            (explanation(&advice))
            (pods(container))
        }
    }
}

fn coverage_words(advice: &Recommendation, usage: &Usage) -> String {
    let confidence = &advice.confidence;
    if confidence.windows == 0 {
        return "Nothing was observed yet.".to_owned();
    }
    let covered = confidence.coverage.map_or(String::new(), |share| {
        format!(", samples cover {}", percent(share))
    });
    let since = confidence
        .first
        .as_deref()
        .map(time_text)
        .unwrap_or_default();
    let why = if confidence.reasons.is_empty() {
        String::new()
    } else {
        format!(" Provisional: {}.", confidence.reasons.join("; "))
    };
    format!(
        "{}{} of {} over {} since {since}{covered}.{why}",
        counted(confidence.windows, "window"),
        usage
            .mean_window_s()
            .map_or(String::new(), |seconds| format!(
                " (each {seconds} s on average)"
            )),
        counted(confidence.pods, "pod"),
        hours(confidence.span_hours)
    )
}

fn numbers(advice: &Recommendation) -> Markup {
    let current = &advice.current;
    html! {
        table.facts {
            caption { "Requests and limits" }
            thead { tr { th {} th.num scope="col" { "now" } th.num scope="col" { "recommended" } } }
            tbody {
                tr { th scope="row" { "CPU request" } td.num { (cpu_or(current.request_millicores, current.absent(Setting::RequestMillicores))) } td.num.strong { (cpu_or(advice.cpu.request_millicores, "not enough")) } }
                tr { th scope="row" { "CPU limit" } td.num { (cpu_or(current.limit_millicores, current.absent(Setting::LimitMillicores))) } td.num { span.absent title=(advice.cpu.limit_reason) { "none" } } }
                tr { th scope="row" { "Memory request" } td.num { (bytes_or(current.request_bytes, current.absent(Setting::RequestBytes))) } td.num.strong { (bytes_or(advice.memory.request_bytes, "not enough")) } }
                tr { th scope="row" { "Memory limit" } td.num { (bytes_or(current.limit_bytes, current.absent(Setting::LimitBytes))) } td.num { (bytes_or(advice.memory.limit_bytes, "not enough")) } }
            }
        }
    }
}

/// The YAML to paste below the container.
pub(super) fn yaml_text(advice: &Recommendation) -> Option<String> {
    let (cpu, memory) = advice
        .cpu
        .request_millicores
        .zip(advice.memory.request_bytes)?;
    let limit = advice
        .memory
        .limit_bytes
        .unwrap_or(memory)
        .div_ceil(1 << 20);
    let memory = memory.div_ceil(1 << 20);
    Some(format!(
        "resources:\n  requests:\n    cpu: {cpu}m\n    memory: {memory}Mi\n  limits:\n    memory: {limit}Mi\n"
    ))
}

fn yaml(advice: &Recommendation) -> Markup {
    html! {
        div {
            h3 { "To paste" }
            @match yaml_text(advice) {
                Some(text) => { pre tabindex="0" { code { (text) } } }
                None => { p.absent { "Not enough was observed for a complete answer." } }
            }
        }
    }
}

fn marks(advice: &Recommendation) -> Vec<Mark> {
    let mark = |class, name: &str, value: Option<u64>| {
        value.map(|value| Mark {
            class,
            label: format!("{name} {}", cpu(value)),
            value,
        })
    };
    let mut marks: Vec<Mark> = [
        mark("advised", "recommended", advice.cpu.request_millicores),
        mark("now", "request", advice.current.request_millicores),
        mark("limit", "limit", advice.current.limit_millicores),
    ]
    .into_iter()
    .flatten()
    .collect();
    marks.sort_by_key(|mark| mark.value);
    marks
}

fn distribution(advice: &Recommendation, usage: &Usage) -> Markup {
    let seconds = &advice.cpu.statistics.seconds;
    if usage.per_second.is_empty() && usage.per_100ms.is_empty() {
        return html! { p.absent { "No steady second was observed yet: there is no distribution to draw." } };
    }
    let idle = |sketch: &plimsoll_wire::Sketch| {
        (!sketch.is_empty())
            .then(|| sketch.zero_count() as f64 / sketch.count() as f64)
            .filter(|share| *share > 0.0)
    };
    let title = format!(
        "Distribution of CPU over {} seconds and {} periods of 100 ms: median second {}, p99 {}, highest {}",
        count(seconds.count),
        count(usage.per_100ms.count()),
        seconds.p50_millicores.map_or("unknown".to_owned(), cpu),
        seconds.p99_millicores.map_or("unknown".to_owned(), cpu),
        seconds.max_millicores.map_or("unknown".to_owned(), cpu),
    );
    html! {
        figure {
            figcaption {
                "How its CPU use is distributed: "
                span.k.coarse { "seconds" } " " span.k.fine { "100 ms periods" }
                @if usage.per_100ms.is_empty() { " (not measured)" }
                @if let Some(share) = idle(&usage.per_second) { "; " (percent(share)) " of seconds entirely idle (not drawn)" }
                @if let Some(share) = idle(&usage.per_100ms) { "; " (percent(share)) " of periods entirely idle (not drawn)" }
            }
            (chart::distribution(&usage.per_second, &usage.per_100ms, &marks(advice), &title))
        }
    }
}

fn recent_cpu(advice: &Recommendation, usage: &Usage) -> Markup {
    let marks: Vec<Mark> = marks(advice)
        .into_iter()
        .filter(|mark| mark.class == "now")
        .collect();
    let newest = usage.recent.last().and_then(|point| point.mean_millicores);
    let without_mean = usage.recent.iter();
    let without_mean = without_mean.filter(|point| point.mean_millicores.is_none());
    let without_mean = without_mean.count() as u64;
    let lines = Lines {
        window_s: usage.mean_window_s().unwrap_or(60),
        area: &|point: &Point| point.mean_millicores,
        peak: Some(&|point: &Point| point.max_millicores),
        marks: &marks,
        shown: &cpu,
        title: format!(
            "CPU of the last {} windows, newest mean {}",
            usage.recent.len(),
            newest.map_or("unknown".to_owned(), cpu)
        ),
    };
    html! {
        figure {
            figcaption { "CPU of late, hottest pod: " span.k.coarse { "mean of each window" } " " span.k.peakline { "highest second" }
                @if without_mean > 0 {
                    "; too little is known of " (counted(without_mean, "window")) " for a mean"
                }
            }
            (chart::series(&usage.recent, &lines))
        }
    }
}

fn recent_memory(advice: &Recommendation, usage: &Usage) -> Markup {
    let current = &advice.current;
    let mark = |class, name: &str, value: Option<u64>| {
        value.map(|value| Mark {
            class,
            label: format!("{name} {}", mib(value)),
            value: value / 1024,
        })
    };
    // One line where both are the same.
    let marks: Vec<Mark> = if current.limit_bytes == current.request_bytes {
        mark("limit", "request and limit", current.limit_bytes)
            .into_iter()
            .collect()
    } else {
        let both = [
            mark("limit", "limit", current.limit_bytes),
            mark("now", "request", current.request_bytes),
        ];
        both.into_iter().flatten().collect()
    };
    let newest = usage.recent.last().and_then(|point| point.memory_kib);
    let shown = |kib: u64| mib(kib.saturating_mul(1024));
    let lines = Lines {
        window_s: usage.mean_window_s().unwrap_or(60),
        area: &|point: &Point| point.memory_kib,
        peak: None,
        marks: &marks,
        shown: &shown,
        title: format!(
            "Memory of the last {} windows, newest peak {}",
            usage.recent.len(),
            newest.map_or("unknown".to_owned(), shown)
        ),
    };
    html! {
        figure {
            figcaption { "Memory of late, highest pod: " span.k.coarse { "peak of each window" } }
            (chart::series(&usage.recent, &lines))
        }
    }
}

fn statistics(advice: &Recommendation, usage: &Usage) -> Markup {
    let statistics = &advice.cpu.statistics;
    let row = |name: &str, q: &Quantiles| {
        html! {
            tr {
                th scope="row" { (name) }
                td.num { (count(q.count)) }
                td.num { (cpu_or(q.p50_millicores, "–")) }
                td.num { (cpu_or(q.p95_millicores, "–")) }
                td.num { (cpu_or(q.p99_millicores, "–")) }
                td.num { (cpu_or(q.max_millicores, "–")) }
            }
        }
    };
    html! {
        table.facts {
            caption { "CPU by resolution" }
            thead { tr { th {} th.num scope="col" { "values" } th.num scope="col" { "p50" } th.num scope="col" { "p95" } th.num scope="col" { "p99" } th.num scope="col" { "max" } } }
            tbody {
                (row(means_named(usage), &statistics.minute_means))
                (row("seconds", &statistics.seconds))
                (row("100 ms periods", &statistics.periods_100ms))
                @if !usage.startup_minute_means.is_empty() {
                    (row(&format!("start-up {}", means_named(usage)), &Quantiles::of(&usage.startup_minute_means)))
                }
                (row("start-up seconds", &statistics.startup_seconds))
            }
        }
    }
}

fn memory_kinds(advice: &Recommendation) -> Markup {
    let peaks = &advice.memory.peaks;
    let kinds = [
        ("working set", peaks.working_set_bytes),
        ("anonymous", peaks.anon_bytes),
        ("page cache", peaks.file_bytes),
        ("all, sampled", peaks.sampled_bytes),
        ("all, kernel's peak", peaks.lifetime_bytes),
    ];
    let largest = kinds
        .iter()
        .filter_map(|(_, bytes)| *bytes)
        .max()
        .unwrap_or(0);
    html! {
        table.facts {
            caption { "Memory peaks by kind" }
            tbody {
                @for (name, bytes) in kinds {
                    tr {
                        th scope="row" { (name) }
                        td.num { (bytes_or(bytes, "not measured")) }
                        td { @if let Some(bytes) = bytes { (chart::proportion(bytes, largest)) } }
                    }
                }
                tr { th scope="row" { "OOM kills" } td.num { @match advice.memory.oom_kills { Some(kills) => { (count(kills)) } None => { span.absent { "not measured" } } } } td {} }
            }
        }
    }
}

fn waiting(advice: &Recommendation, usage: &Usage) -> Markup {
    let share = |value: Option<f64>, absent: &str| known_or(value.map(percent), absent);
    let row = |name: &str, stalls: &Stalls| {
        let shares = stalls.shares();
        html! {
            tr {
                th scope="row" { (name) }
                td.num { (share(shares.map(|s| s.0), "not measured")) }
                td.num { (share(shares.map(|s| s.1), "–")) }
            }
        }
    };
    html! {
        table.facts {
            caption { "Waiting" }
            thead { tr { th {} th.num scope="col" { "some" } th.num scope="col" { "all" } } }
            tbody {
                (row("CPU pressure", &usage.cpu_pressure))
                (row("memory pressure", &usage.memory_pressure))
                (row("IO pressure", &usage.io_pressure))
                tr {
                    th scope="row" { "periods throttled" }
                    td.num colspan="2" { (share(advice.cpu.throttled_share, if usage.throttling.windows == 0 { "not measured" } else { "no quota" })) }
                }
            }
        }
    }
}

fn explanation(advice: &Recommendation) -> Markup {
    html! {
        div.why {
            h3 { "Why" }
            div.split {
                ul { @for words in &advice.explanation.cpu { li { (words) } } li { "No CPU limit: " (advice.cpu.limit_reason) "." } }
                ul { @for words in &advice.explanation.memory { li { (words) } } }
            }
            @if !advice.assessment.risks.is_empty() {
                h3 { "As it stands" }
                ul { @for risk in &advice.assessment.risks { li { (risk) } } }
            }
            p.note {
                "CPU time from " (sources(&advice.cpu.sources)) "; memory from " (sources(&advice.memory.sources)) "."
            }
        }
    }
}

fn sources(sources: &[plimsoll_wire::usage::Source]) -> String {
    use plimsoll_wire::usage::Source;
    let words: Vec<&str> = sources
        .iter()
        .map(|source| match source {
            Source::CgroupV2 => "cgroup v2",
            Source::CgroupV1 => "cgroup v1",
            Source::Ebpf => "eBPF at each context switch",
            Source::Procfs => "procfs",
        })
        .collect();
    if words.is_empty() {
        "no source yet".to_owned()
    } else {
        words.join(" and ")
    }
}

fn pods(container: &ContainerHistory) -> Markup {
    let mut rows: Vec<_> = container
        .pods
        .iter()
        .map(|pod| {
            let usage = &pod.series.usage;
            // As the request takes it, so that the hottest pod's number is the request's.
            let p95 = pod.series.hottest(&pod.pod);
            let p95 = p95.map(|hot| hot.ns_per_s.div_ceil(1_000_000));
            let memory = usage
                .memory_working_set
                .max_bytes
                .or(usage.memory_sampled.max_bytes);
            (p95, Quantiles::of(&usage.per_second), memory, pod)
        })
        .collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.3.pod.cmp(&b.3.pod)));
    html! {
        div.scroll {
            table.facts.wide {
                caption { "Pods, hottest first" @if rows.len() > PODS { " (" (PODS) " of " (rows.len()) ")" } }
                thead { tr { th scope="col" { "Pod" } th scope="col" { "Node" } th scope="col" { "State" } th.num scope="col" { "Windows" } th.num scope="col" { "p95 of " (means_named(&container.total)) } th.num scope="col" { "p99 of seconds" } th.num scope="col" { "highest second" } th.num scope="col" { "memory peak" } } }
                tbody {
                    @for (p95, seconds, memory, pod) in rows.iter().take(PODS) {
                        tr {
                            th scope="row" { (pod.pod) }
                            td { (pod.series.node) }
                            td { @if pod.running { "running" } @else { "ended" } @if pod.lives > 1 { ", " (count(pod.lives)) " lives sampled" } }
                            td.num { (count(pod.series.usage.windows)) }
                            td.num { (cpu_or(*p95, "–")) }
                            td.num { (cpu_or(seconds.p99_millicores, "–")) }
                            td.num { (cpu_or(seconds.max_millicores, "–")) }
                            td.num { (bytes_or(*memory, "–")) }
                        }
                    }
                }
            }
        }
    }
}
