use std::sync::Arc;

use plimsoll_wire::UsageWindow;
use proptest::prelude::*;

use super::*;
use crate::history::series::tests::window;
use crate::history::{PodUsage, Series};
use crate::inventory::{Resources, Workload};
use crate::join::Names;

fn pod(name: &str, windows: &[UsageWindow]) -> PodUsage {
    let mut series = Series::new("node-a", &window(name, 0, 0, 0).identity);
    for window in windows {
        series.add("node-a", window);
    }
    PodUsage {
        pod: name.to_owned(),
        series: Arc::new(series),
        lives: 1,
        running: true,
    }
}

fn history(pods: Vec<PodUsage>) -> ContainerHistory {
    let mut total = Usage::default();
    for pod in &pods {
        total.merge(&pod.series.usage);
    }
    ContainerHistory {
        namespace: "shop".to_owned(),
        workload: Workload {
            kind: "Deployment".to_owned(),
            name: "api".to_owned(),
        },
        container: "app".to_owned(),
        role: Role::Main,
        requests: Resources {
            cpu_millicores: Some(500),
            memory_bytes: Some(256 << 20),
            ..Resources::default()
        },
        limits: Resources {
            cpu_millicores: None,
            memory_bytes: Some(512 << 20),
            ..Resources::default()
        },
        labels: std::collections::BTreeMap::new(),
        running: pods.len() as u64,
        replicas: pods.len() as u64,
        pods,
        total,
    }
}

/// One pod with that many minutes at one CPU and memory value.
fn steady(name: &str, minutes: u64, millicores: u64, memory: u64) -> PodUsage {
    let windows: Vec<_> = (0..minutes)
        .map(|minute| window(name, minute, millicores, memory))
        .collect();
    pod(name, &windows)
}

#[test]
fn a_steady_container_gets_what_it_uses() {
    let advice = recommend(&history(vec![steady("a", 100, 120, 100 << 20)]));
    assert_eq!(advice.cpu.request_millicores, Some(120));
    assert_eq!(advice.memory.request_bytes, Some(115 << 20));
    assert_eq!(advice.memory.limit_bytes, Some(115 << 20));
    assert_eq!(
        (advice.assessment.cpu, advice.assessment.memory),
        (Fit::Over, Fit::Over)
    );
    assert_eq!(advice.assessment.waste_millicores, Some(380));
    assert_eq!(advice.assessment.shortfall_millicores, Some(0));
}

#[test]
fn waste_without_a_request_and_anything_without_advice_is_unknown() {
    let mut unset = history(vec![steady("a", 100, 120, 100 << 20)]);
    unset.requests = Resources::default();
    let assessment = recommend(&unset).assessment;
    assert_eq!(
        (assessment.waste_millicores, assessment.waste_bytes),
        (None, None)
    );
    assert_eq!(assessment.shortfall_millicores, Some(120));
    assert_eq!(assessment.shortfall_bytes, Some(115 << 20));

    let assessment = recommend(&history(Vec::new())).assessment;
    assert_eq!(
        (assessment.waste_millicores, assessment.waste_bytes),
        (None, None)
    );
    assert_eq!(
        (assessment.shortfall_millicores, assessment.shortfall_bytes),
        (None, None)
    );
}

#[test]
fn the_hot_replica_decides_and_is_named() {
    let mut pods: Vec<_> = (0..10)
        .map(|n| steady(&format!("cool-{n}"), 60, 20, 50 << 20))
        .collect();
    pods.push(steady("hot", 60, 900, 400 << 20));
    let advice = recommend(&history(pods));
    assert_eq!(advice.cpu.request_millicores, Some(900));
    assert_eq!(advice.cpu.hot_pod.as_deref(), Some("hot"));
    assert_eq!(advice.memory.request_bytes, Some(460 << 20));
    assert!(
        advice.explanation.cpu[0].contains("hot, the hottest of 11 pods"),
        "{:?}",
        advice.explanation
    );
}

/// As [`the_hot_replica_decides_and_is_named`], after all of them have ended and were folded.
#[test]
fn folding_does_not_cool_the_hot_pod() {
    let mut pods: Vec<_> = (0..99)
        .map(|n| steady(&format!("cool-{n}"), 60, 10, 50 << 20))
        .collect();
    pods.insert(7, steady("hot", 60, 1000, 50 << 20));
    let apart = recommend(&history(pods.clone()));
    let named = |pod: &PodUsage| {
        let mut series = Series::clone(&pod.series);
        series.names = Some(Names {
            namespace: "shop".to_owned(),
            pod: pod.pod.clone(),
            container: Some("app".to_owned()),
            node: None,
            workload: Workload {
                kind: "Deployment".to_owned(),
                name: "api".to_owned(),
            },
            labels: std::collections::BTreeMap::new(),
            requests: Resources::default(),
            limits: Resources::default(),
            role: Role::Main,
        });
        series
    };
    let mut earlier = [pods[0].clone(), pods[50].clone()].map(|pod| {
        let mut series = Series::clone(&pod.series);
        (series.usage, series.ended) = (Usage::default(), true);
        series
    });
    for (n, pod) in pods.iter().enumerate() {
        earlier[n % 2].fold(&named(pod));
    }
    // In two halves, and the halves into one: the order does not matter.
    let [mut all, half] = earlier;
    all.fold(&half);
    let folded = PodUsage {
        pod: "earlier pods (100)".to_owned(),
        series: Arc::new(all),
        lives: 1,
        running: false,
    };
    let folded = recommend(&history(vec![folded]));
    assert_eq!(folded.cpu.request_millicores, Some(1000));
    assert_eq!(folded.cpu.hot_pod.as_deref(), Some("hot"));
    assert_eq!(folded.explanation.cpu, apart.explanation.cpu);
    assert_eq!(folded.confidence.pods, 100);
}

#[test]
fn bursts_shorter_than_a_minute_stay_visible_beside_the_request() {
    let mut bursty = window("b", 0, 0, 0);
    bursty.cpu.used_ns = Some(6_000_000_000);
    bursty.cpu.per_second = plimsoll_wire::Sketch::default();
    bursty.cpu.per_second.add_n(0, 54);
    bursty.cpu.per_second.add_n(1_000_000_000, 6);
    let advice = recommend(&history(vec![pod("b", &[bursty])]));
    assert_eq!(advice.cpu.request_millicores, Some(100));
    assert_eq!(advice.cpu.statistics.seconds.max_millicores, Some(1000));
    assert!(
        advice
            .explanation
            .cpu
            .iter()
            .any(|s| s.contains("above the request")),
        "{:?}",
        advice.explanation
    );
}

#[test]
fn an_oom_kill_raises_above_the_limit_that_stood() {
    let mut killed = window("a", 0, 10, 500 << 20);
    killed.memory.oom_kills = Some(2);
    killed.memory.limit_bytes = Some(512 << 20);
    let advice = recommend(&history(vec![pod("a", &[killed])]));
    assert_eq!(advice.memory.request_bytes, Some(640 << 20));
    assert!(
        advice
            .assessment
            .risks
            .iter()
            .any(|risk| risk.contains("killed"))
    );
}

#[test]
fn a_kill_for_want_of_the_nodes_memory_says_nothing_of_the_limit() {
    let mut killed = window("a", 0, 10, 300 << 20);
    killed.memory.oom_kills = Some(1);
    killed.memory.limit_bytes = Some(4 << 30);
    for (failures, request) in [(None, 5 << 30), (Some(3), 5 << 30), (Some(0), 375 << 20)] {
        killed.memory.limit_failures = failures;
        let advice = recommend(&history(vec![pod("a", &[killed.clone()])]));
        assert_eq!(advice.memory.request_bytes, Some(request), "{failures:?}");
        let words = advice.explanation.memory.join(" ");
        assert_eq!(
            words.contains("not known to be at a limit of its own"),
            failures == Some(0),
            "{words}"
        );
        assert!(!advice.assessment.risks.is_empty());
    }
}

#[test]
fn memory_by_kind_page_cache_is_not_need_and_unseen_peaks_are() {
    let mut cached = window("a", 0, 10, 800 << 20);
    cached.memory.working_set_peak_bytes = Some(200 << 20);
    cached.memory.file_peak_bytes = Some(600 << 20);
    cached.memory.anon_peak_bytes = Some(150 << 20);
    cached.memory.lifetime_peak_bytes = Some(900 << 20);
    let advice = recommend(&history(vec![pod("a", &[cached])]));
    // (200 + 100 unseen) · 1.15
    assert_eq!(advice.memory.request_bytes, Some(345 << 20));
    assert!(
        advice.explanation.memory[0].contains("100 MiB more between samples"),
        "{:?}",
        advice.explanation
    );
}

#[test]
fn nothing_observed_is_said_and_not_numbered() {
    let advice = recommend(&history(vec![]));
    assert_eq!(
        (advice.cpu.request_millicores, advice.memory.request_bytes),
        (None, None)
    );
    assert_eq!(advice.confidence.level, Level::NotEnough);
    assert_eq!(
        advice.explanation.cpu,
        ["Not enough: no window was observed."]
    );
    assert_eq!(advice.assessment.cpu, Fit::Unknown);
}

/// 200 ms between two samples: CPU time is known, and neither a mean nor memory.
#[test]
fn a_life_between_two_samples_says_why_there_is_no_advice() {
    let mut window = window("brief", 0, 900, 0);
    window.end_unix_ns = window.start_unix_ns + 200_000_000;
    window.observed_ns = 0;
    window.cpu.used_ns = Some(180_000_000);
    window.memory = plimsoll_wire::usage::MemoryUsage::default();
    let advice = recommend(&history(vec![pod("brief", &[window])]));
    assert_eq!(
        (advice.cpu.request_millicores, advice.memory.request_bytes),
        (None, None)
    );
    let said = [&advice.explanation.cpu[0], &advice.explanation.memory[0]];
    assert!(
        said[0].contains("They hold 0.180 s of CPU time; a mean needs two samples")
            && said[0].contains("that no sample met"),
        "{said:?}"
    );
    assert!(
        said[1].contains("only where cgroup v2 has the memory"),
        "{said:?}"
    );
}

#[test]
fn a_day_settles_it() {
    let level = |minutes| {
        recommend(&history(vec![steady("a", minutes, 100, 1 << 20)]))
            .confidence
            .level
    };
    assert_eq!(level(1), Level::Provisional);
    assert_eq!(level(24 * 60 - 1), Level::Provisional);
    assert_eq!(level(24 * 60), Level::Settled);
}

#[test]
fn amounts_of_memory_round_up() {
    let said = [
        (1023, "1023 B"),
        (1025, "2 KiB"),
        ((1 << 20) + 1, "2 MiB"),
        ((10 << 30) - 1, "10240 MiB"),
        (10 << 30, "10.0 GiB"),
        // 10.04 GiB: "10.0" would be 40 MiB less than what is advised.
        ((10 << 30) + (40 << 20), "10.1 GiB"),
        (u64::MAX, "17179869184.0 GiB"),
    ];
    for (bytes, words) in said {
        assert_eq!(memory::mib(bytes), words);
    }
}

/// A minute on each of `days` days, each of a pod of its own.
fn a_minute_a_day(kind: &str, days: u64) -> Confidence {
    let pods = (0..days).map(|day| {
        let name = format!("run-{day}");
        pod(&name, &[window(&name, day * 24 * 60, 100, 1 << 20)])
    });
    let mut history = history(pods.collect());
    history.workload.kind = kind.to_owned();
    recommend(&history).confidence
}

#[test]
fn two_minutes_on_two_days_settle_nothing() {
    let seen = a_minute_a_day("Deployment", 2);
    assert_eq!(seen.level, Level::Provisional);
    assert_eq!((seen.hours_of_day, seen.coverage), (1, Some(1.0)));
    assert_eq!(
        seen.reasons,
        ["2 min observed, in 1 of the 24 hours of the day, on 2 of 7 days"]
    );
    // However long that goes on.
    assert_eq!(a_minute_a_day("Deployment", 60).level, Level::Provisional);
}

#[test]
fn a_job_is_settled_by_its_runs() {
    let seen = a_minute_a_day("CronJob", 2);
    assert_eq!(seen.level, Level::Provisional);
    assert_eq!(
        seen.reasons,
        ["2 of 7 runs seen: one of the next may need more"]
    );
    assert_eq!(a_minute_a_day("CronJob", 7).level, Level::Settled);
    assert_eq!(a_minute_a_day("Job", 1).level, Level::Provisional);
}

#[test]
fn what_runs_only_by_day_is_settled_after_seven_days() {
    let by_day = |days: u64| {
        let minutes = (0..days).flat_map(|day| (8 * 60..20 * 60).map(move |m| day * 24 * 60 + m));
        let windows: Vec<_> = minutes.map(|m| window("a", m, 100, 1 << 20)).collect();
        recommend(&history(vec![pod("a", &windows)]))
            .confidence
            .level
    };
    assert_eq!(by_day(6), Level::Provisional);
    assert_eq!(by_day(7), Level::Settled);
}

/// Thirty pods come up together, and the clock of one's node stands a week back at first.
#[test]
fn a_clock_that_was_behind_settles_nothing() {
    let now = 10 * 24 * 60;
    let pods = (0..30_u64).map(|n| {
        let name = format!("p{n}");
        let mut minutes: Vec<u64> = (now..now + 50).collect();
        if n == 0 {
            minutes[0] -= 7 * 24 * 60;
        }
        let windows: Vec<_> = minutes
            .iter()
            .map(|m| window(&name, *m, 100, 1 << 20))
            .collect();
        pod(&name, &windows)
    });
    let seen = recommend(&history(pods.collect())).confidence;
    assert!(
        seen.span_hours >= 7.0 * 24.0 && seen.observed_hours >= 24.0,
        "{seen:?}"
    );
    assert_eq!((seen.level, seen.days), (Level::Provisional, 2));
    assert_eq!(
        seen.reasons,
        ["25.0 h observed, in 1 of the 24 hours of the day, on 2 of 7 days"]
    );
}

/// Setting next to nothing heals no risk that setting nothing is.
#[test]
fn a_request_clearly_below_what_is_needed_is_a_risk() {
    let mut little = history(vec![steady("a", 100, 800, 1 << 30)]);
    (little.requests.cpu_millicores, little.limits) = (Some(1), Resources::default());
    little.requests.memory_bytes = Some(16 << 20);
    let advice = recommend(&little);
    let assessment = &advice.assessment;
    assert_eq!(
        (assessment.cpu, assessment.memory),
        (Fit::Under, Fit::Under)
    );
    assert_eq!(
        assessment.risks,
        [
            "the CPU request of 1 m is 799 m below what it needs: 800 m",
            "the memory request of 16 MiB is 1162 MiB below what it needs: 1178 MiB",
        ]
    );
    // Near enough.
    little.requests.cpu_millicores = Some(721);
    little.requests.memory_bytes = Some(1100 << 20);
    assert_eq!(recommend(&little).assessment.risks, [""; 0]);
}

/// What is set and was not understood is neither nothing nor a value.
#[test]
fn no_verdict_on_what_is_not_known() {
    let mut unknown = history(vec![steady("a", 100, 120, 100 << 20)]);
    let not_understood = Resources {
        cpu_unknown: true,
        memory_unknown: true,
        ..Resources::default()
    };
    (unknown.requests, unknown.limits) = (not_understood, not_understood);
    let advice = recommend(&unknown);
    let assessment = &advice.assessment;
    assert_eq!(
        (assessment.cpu, assessment.memory),
        (Fit::Unknown, Fit::Unknown)
    );
    assert_eq!(
        [
            assessment.waste_millicores,
            assessment.waste_bytes,
            assessment.shortfall_millicores,
            assessment.shortfall_bytes
        ],
        [None; 4]
    );
    assert_eq!(assessment.risks, [""; 0]);
    assert_eq!(advice.current.unknown.len(), 4);
    assert_eq!(advice.cpu.request_millicores, Some(120));
    let words =
        "The memory limit that is set is unknown: what the inventory has there is no quantity.";
    assert!(advice.explanation.memory.iter().any(|said| said == words));
    // Of one only, the others stand.
    unknown.requests.cpu_unknown = false;
    let assessment = recommend(&unknown).assessment;
    assert_eq!(
        (assessment.cpu, assessment.memory),
        (Fit::Unset, Fit::Unknown)
    );
    assert_eq!(assessment.shortfall_millicores, Some(120));
}

/// A report of two pods, one of them hot.
pub(crate) fn sample_report() -> Report {
    let mut fleet = Fleet::default();
    let hot = steady("api-2", 30, 640, 300 << 20);
    fleet
        .containers
        .push(history(vec![steady("api-1", 30, 120, 100 << 20), hot]));
    report(&fleet, 1_767_571_200_000_000_000)
}

#[test]
fn the_document_keeps_its_shape() {
    let document = sample_report();
    let text = serde_json::to_string_pretty(&document).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), document);
    insta::assert_snapshot!(text);
}

proptest! {
    #[test]
    fn the_request_is_never_below_the_observed_p95(
        values in prop::collection::vec(1..100_000_u64, 1..200),
    ) {
        let windows: Vec<_> = (0..).zip(&values).map(|(minute, mc)| window("a", minute, *mc, *mc << 20)).collect();
        let advice = recommend(&history(vec![pod("a", &windows)]));
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100).max(1);
        prop_assert!(advice.cpu.request_millicores.unwrap() >= sorted[rank - 1]);
        prop_assert!(advice.memory.request_bytes.unwrap() >= sorted.last().unwrap() << 20);
    }

    #[test]
    fn more_use_never_means_a_smaller_request(
        values in prop::collection::vec((1..50_000_u64, 0..50_000_u64), 1..100),
    ) {
        let advice = |extra: u64| {
            let windows: Vec<_> = (0..)
                .zip(&values)
                .map(|(minute, (mc, more))| window("a", minute, mc + more * extra, (mc + more * extra) << 20))
                .collect();
            recommend(&history(vec![pod("a", &windows)]))
        };
        let (less, more) = (advice(0), advice(1));
        prop_assert!(more.cpu.request_millicores >= less.cpu.request_millicores);
        prop_assert!(more.memory.request_bytes >= less.memory.request_bytes);
    }

    #[test]
    fn absurd_values_have_an_answer(
        numbers in prop::collection::vec(prop::num::u64::ANY, 12),
        oom in prop::option::of(prop::num::u64::ANY),
    ) {
        let mut absurd = window("a", 0, 0, numbers[0]);
        absurd.start_unix_ns = numbers[1];
        absurd.end_unix_ns = numbers[2];
        absurd.observed_ns = numbers[3];
        absurd.cpu.used_ns = Some(numbers[4]);
        absurd.cpu.per_second.add_n(numbers[5], numbers[6]);
        absurd.cpu.periods = Some(numbers[7]);
        absurd.cpu.throttled_periods = Some(numbers[8]);
        absurd.memory.lifetime_peak_bytes = Some(numbers[9]);
        absurd.memory.oom_kills = oom;
        absurd.memory.limit_bytes = Some(numbers[10]);
        absurd.cpu_pressure.some_usec = Some(numbers[11]);
        let mut fleet = Fleet::default();
        fleet.containers.push(history(vec![pod("a", &[absurd.clone()]), pod("b", &[absurd])]));
        let document = report(&fleet, numbers[2]);
        prop_assert_eq!(document.recommendations.len(), 1);
    }
}
