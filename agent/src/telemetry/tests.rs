use plimsoll_imds::Stats;
use plimsoll_wire::Class;
use plimsoll_wire::event::StageFates;
use plimsoll_wire::fate::Fates;

use super::*;
use crate::audit::Counts;
use crate::export::standing::Reason;
use crate::identity::Forgotten;
use crate::probe::periods::Unbooked;
use crate::usage::kernel_time;

fn books() -> Books {
    let fates = Fates {
        emitted: 5,
        lost: 2,
        delivered: 2,
        in_flight: 1,
        ..Fates::default()
    };
    Books {
        stages: vec![StageFates {
            stage: "agent".into(),
            class: "security".into(),
            fates,
        }],
        spool: vec![SpoolRow {
            class: "usage",
            bytes: 1,
            records: 2,
            oldest_s: 3.5,
            read_errors: 6,
        }],
        exports: vec![(Class::Security, Reason::RefusedToken, 11)],
        kernel: KernelRow {
            programs: vec![("connect4".into(), true)],
            ring_high_water: vec![("security", 7)],
            cpu_time: kernel_time::Counts {
                cgroups: 21,
                forgotten: 22,
                forgotten_ns: 44_000_000_000,
                missed_periods: 23,
                unsettled: 24,
                unbooked: Unbooked {
                    switches: 25,
                    ns: 2_500_000_000,
                },
            },
        },
        usage: UsageRow {
            containers: 4,
            over_limit: 1,
            unopened: 31,
            samples: 9,
            resets: 1,
            unshown_periods: 45,
            parse_errors: 1,
            not_added_up: 32,
            descriptors: 33,
            sample_seconds: 0.25,
            known: [34, 35],
            forgotten: Forgotten {
                expired: 36,
                shed: 37,
                rejected: 38,
            },
            unwalked: [39, 40],
            relabelled: 46,
        },
        audit: AuditRow {
            counts: Counts {
                connects_not_tcp: 41,
                segments_not_tcp: 42,
                segments_no_transport: 43,
                segments_of_server: 50,
                imds_events: 44,
                without_process: 45,
                without_owner: 46,
                oom_events: 47,
                tasks_shed: 48,
                owners_shed: 49,
                ..Counts::default()
            },
            decoder: Stats {
                used: 51,
                no_payload: 52,
                repeated: 53,
                outside: 54,
                not_endpoint: 55,
                requests: 59,
                late_answers: 7,
                forgotten: 8,
                events: 10,
                orphan_responses: 57,
                repeated_heads: 65,
                gaps: 58,
                conflicts: 59,
                evicted: 60,
                idle: 61,
                ..Stats::default()
            },
            rows: [62, 63, 64],
        },
        cpu_ns: Some(1_500_000_000),
        rss_bytes: Some(1 << 20),
    }
}

#[test]
fn every_metric_is_touched_by_the_books() {
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    metrics.show(&books());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let families = text
        .lines()
        .filter(|line| line.starts_with("# HELP"))
        .count();
    assert_eq!(families, 40, "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let not_shown = ["delivered", "emitted", "lost"]
            .iter()
            .all(|fate| !line.contains(fate))
            && line.contains("plimsoll_agent_records_total");
        assert!(value != "0" || not_shown, "nobody set {line}");
    }
    for expected in [
        r#"records_total{stage="agent",class="security",fate="lost"} 2"#,
        r#"records_in_flight{stage="agent",class="security",fate="in_flight"} 1"#,
        r#"spool_bytes{class="usage"} 1"#,
        r#"spool_read_errors_total{class="usage"} 6"#,
        r#"export_failures_total{class="security",reason="refused_token"} 11"#,
        "cpu_seconds_total 1.5",
        "resident_memory_bytes 1048576",
        "cpu_time_cgroups 21",
        "cpu_time_cgroups_forgotten_total 22",
        "cpu_time_forgotten_seconds_total 44.0",
        "cpu_time_unshown_periods_total 45",
        "cpu_time_missed_periods_total 23",
        "cpu_time_unsettled_rounds_total 24",
        "cpu_time_unbooked_switches_total 25",
        "cpu_time_unbooked_seconds_total 2.5",
        "containers_unopened 31",
        "sample_memory_not_added_up_total 32",
        "sample_descriptors 33",
        r#"cgroups_known{state="living"} 34"#,
        r#"cgroups_known{state="gone"} 35"#,
        r#"cgroups_forgotten_total{reason="expired"} 36"#,
        r#"cgroups_forgotten_total{reason="shed"} 37"#,
        r#"cgroups_forgotten_total{reason="rejected"} 38"#,
        r#"cgroups_unwalked{reason="left_out"} 39"#,
        r#"cgroups_unwalked{reason="unlisted"} 40"#,
        "cgroups_relabelled 46",
        r#"audit_passed_over_total{reason="connect_not_tcp"} 41"#,
        r#"audit_passed_over_total{reason="no_transport_header"} 43"#,
        r#"audit_passed_over_total{reason="segment_of_server"} 50"#,
        r#"audit_events_total{kind="imds"} 44"#,
        r#"audit_unattributed_total{reason="no_process"} 45"#,
        r#"audit_unattributed_total{reason="no_owner"} 46"#,
        r#"audit_rows_shed_total{table="tasks"} 48"#,
        r#"audit_rows_shed_total{table="owners"} 49"#,
        r#"audit_rows_shed_total{table="connections"} 60"#,
        r#"audit_rows{table="connections"} 64"#,
        r#"imds_segments_total{kind="outside"} 54"#,
        "imds_requests_waiting 56",
        r#"imds_irregular_total{kind="late_answer"} 7"#,
        r#"imds_irregular_total{kind="forgotten"} 8"#,
        r#"imds_irregular_total{kind="orphan_response"} 57"#,
        r#"imds_irregular_total{kind="idle"} 61"#,
    ] {
        let expected = format!("plimsoll_agent_{expected}\n");
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
}
