//! `plimsoll sizing report`.

use std::io::Write;

use super::table::{self, Column};
use super::{CliError, Client, Exit, ReportArgs, SizingOutput, print_json};
use crate::inventory::Role;
use crate::sizing::memory::mib;
use crate::sizing::{Level, Recommendation, Report, Setting};

pub(super) fn report(args: &ReportArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let parameters = [
        ("namespace", args.namespace.clone()),
        ("selector", args.selector.clone()),
    ];
    let report: Report = Client::new(&args.collector)?.get("/api/v1/sizing", &parameters)?;
    print(&report, args.output, out)?;
    Ok(Exit::Success)
}

/// Prints a report in one of its forms.
pub(super) fn print(
    report: &Report,
    output: SizingOutput,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    match output {
        SizingOutput::Json => print_json(report, out),
        SizingOutput::Yaml => {
            write!(out, "{}", serde_saphyr::to_string(report)?)?;
            Ok(())
        }
        SizingOutput::Csv => print_csv(report, out),
        SizingOutput::Table => print_table(report, false, out),
        SizingOutput::Wide => print_table(report, true, out),
    }
}

const COLUMNS: &[Column] = &[
    Column::Left("NAMESPACE"),
    Column::Left("WORKLOAD"),
    Column::Left("CONTAINER"),
    Column::Right("PODS"),
    Column::Right("CPU NOW"),
    Column::Right("CPU"),
    Column::Right("MEMORY NOW"),
    Column::Right("MEMORY"),
    Column::Left("STATE"),
];

const WIDE: &[Column] = &[
    Column::Right("CPU LIMIT"),
    Column::Right("P99 1S"),
    Column::Right("P99 100MS"),
    Column::Right("THROTTLED"),
    Column::Right("MEM LIMIT NOW"),
    Column::Right("MEM LIMIT"),
    Column::Right("COVERED"),
    Column::Left("RISKS"),
];

fn print_table(report: &Report, wide: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let mut columns = COLUMNS.to_vec();
    if wide {
        columns.extend_from_slice(WIDE);
    }
    let rows: Vec<Vec<String>> = report
        .recommendations
        .iter()
        .map(|found| row(found, wide))
        .collect();
    if rows.is_empty() {
        writeln!(
            out,
            "No container matches, or none has a name in the inventory yet."
        )?;
    } else {
        table::print(&columns, &rows, out)?;
    }
    if !report.unnamed.is_empty() {
        let containers = match report.unnamed.len() {
            1 => "1 more container has".to_owned(),
            more => format!("{more} more containers have"),
        };
        writeln!(out, "\n{containers} no name in the inventory: see -o json.")?;
    }
    Ok(())
}

fn row(found: &Recommendation, wide: bool) -> Vec<String> {
    let cpu =
        |value: Option<u64>, absent: &str| value.map_or(absent.to_owned(), |m| format!("{m}m"));
    let memory = |value: Option<u64>, absent: &str| {
        value.map_or(absent.to_owned(), |b| {
            mib(b).replace(" MiB", "Mi").replace(" GiB", "Gi")
        })
    };
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1}%", share * 100.0));
    let (current, confidence) = (&found.current, &found.confidence);
    let absent = |setting| current.absent(setting);
    let mut cells = vec![
        found.namespace.clone(),
        format!("{}/{}", found.kind, found.workload),
        found.container.clone(),
        found.replicas.to_string(),
        cpu(
            current.request_millicores,
            absent(Setting::RequestMillicores),
        ),
        cpu(found.cpu.request_millicores, "-"),
        memory(current.request_bytes, absent(Setting::RequestBytes)),
        memory(found.memory.request_bytes, "-"),
        confidence.words(),
    ];
    if wide {
        cells.extend([
            cpu(current.limit_millicores, absent(Setting::LimitMillicores)),
            cpu(found.cpu.statistics.seconds.p99_millicores, "-"),
            cpu(found.cpu.statistics.periods_100ms.p99_millicores, "-"),
            percent(found.cpu.throttled_share),
            memory(current.limit_bytes, absent(Setting::LimitBytes)),
            memory(found.memory.limit_bytes, "-"),
            percent(confidence.coverage),
            found.assessment.risks.join("; "),
        ]);
    }
    cells
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::NotEnough => "not enough",
        Level::Provisional => "provisional",
        Level::Settled => "settled",
    }
}

/// One row; the field names are the head line, a promise.
#[derive(Default, serde::Serialize)]
struct CsvRow<'a> {
    namespace: &'a str,
    kind: &'a str,
    workload: &'a str,
    container: &'a str,
    role: Option<Role>,
    replicas: u64,
    current_cpu_request_millicores: Option<u64>,
    current_cpu_limit_millicores: Option<u64>,
    current_memory_request_bytes: Option<u64>,
    current_memory_limit_bytes: Option<u64>,
    cpu_request_millicores: Option<u64>,
    cpu_limit_millicores: Option<u64>,
    memory_request_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    cpu_minute_p95_millicores: Option<u64>,
    cpu_second_p99_millicores: Option<u64>,
    cpu_second_max_millicores: Option<u64>,
    cpu_100ms_p99_millicores: Option<u64>,
    throttled_share: Option<f64>,
    memory_working_set_peak_bytes: Option<u64>,
    memory_sampled_peak_bytes: Option<u64>,
    oom_kills: Option<u64>,
    confidence: &'static str,
    windows: u64,
    coverage: Option<f64>,
    waste_millicores: Option<u64>,
    waste_bytes: Option<u64>,
    /// By the names in the JSON, a blank between.
    current_unknown: String,
}

fn csv_row(found: &Recommendation) -> CsvRow<'_> {
    let statistics = &found.cpu.statistics;
    CsvRow {
        namespace: &found.namespace,
        kind: &found.kind,
        workload: &found.workload,
        container: &found.container,
        role: Some(found.role),
        replicas: found.replicas,
        current_cpu_request_millicores: found.current.request_millicores,
        current_cpu_limit_millicores: found.current.limit_millicores,
        current_memory_request_bytes: found.current.request_bytes,
        current_memory_limit_bytes: found.current.limit_bytes,
        cpu_request_millicores: found.cpu.request_millicores,
        cpu_limit_millicores: found.cpu.limit_millicores,
        memory_request_bytes: found.memory.request_bytes,
        memory_limit_bytes: found.memory.limit_bytes,
        cpu_minute_p95_millicores: statistics.minute_means.p95_millicores,
        cpu_second_p99_millicores: statistics.seconds.p99_millicores,
        cpu_second_max_millicores: statistics.seconds.max_millicores,
        cpu_100ms_p99_millicores: statistics.periods_100ms.p99_millicores,
        throttled_share: found.cpu.throttled_share,
        memory_working_set_peak_bytes: found.memory.peaks.working_set_bytes,
        memory_sampled_peak_bytes: found.memory.peaks.sampled_bytes,
        oom_kills: found.memory.oom_kills,
        confidence: level(found.confidence.level),
        windows: found.confidence.windows,
        coverage: found.confidence.coverage,
        waste_millicores: found.assessment.waste_millicores,
        waste_bytes: found.assessment.waste_bytes,
        current_unknown: unknown(found),
    }
}

fn unknown(found: &Recommendation) -> String {
    let name = |setting: &Setting| match setting {
        Setting::RequestMillicores => "request_millicores",
        Setting::LimitMillicores => "limit_millicores",
        Setting::RequestBytes => "request_bytes",
        Setting::LimitBytes => "limit_bytes",
    };
    let names: Vec<&str> = found.current.unknown.iter().map(name).collect();
    names.join(" ")
}

/// The head line stands there without a row as well: whoever reads columns by name finds them.
fn print_csv(report: &Report, out: &mut dyn Write) -> Result<(), CliError> {
    let mut csv = csv::Writer::from_writer(out);
    for found in &report.recommendations {
        csv.serialize(csv_row(found))?;
    }
    if report.recommendations.is_empty() {
        csv.write_record(head()?.iter())?;
    }
    csv.flush()?;
    Ok(())
}

/// The names of the fields, as the writer puts them before the first row.
fn head() -> Result<csv::StringRecord, csv::Error> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.serialize(CsvRow::default())?;
    let written = csv.into_inner().unwrap_or_default();
    csv::Reader::from_reader(written.as_slice())
        .headers()
        .cloned()
}
