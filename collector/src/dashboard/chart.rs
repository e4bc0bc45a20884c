//! Pictures as SVG: fit bars, distributions, time series. Each has a title in words, uses classes of
//! the style sheet only (no inline style, so that the content policy can stay strict), and is
//! bounded in size whatever the data.

use std::fmt::Write as _;

use maud::{Markup, html};
use plimsoll_wire::Sketch;

use crate::history::usage::Point;
use crate::sizing::rfc3339;

/// Between the base lines of two labels, one above the other.
const LABEL_HEIGHT: f64 = 13.0;
/// A picture of less than this, seconds, has seconds on its axis.
const SECONDS_BELOW_S: f64 = 600.0;
/// One of more, seconds, has dates: what runs once a day has few windows in many days.
const DATE_FROM_S: f64 = 86_400.0;
/// A millicore's CPU time in one second, nanoseconds.
const MILLICORE_NS: f64 = 1e6;
/// Columns of a distribution.
const COLUMNS: usize = 64;

/// A vertical mark with its name.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// Class in the style sheet: `now`, `limit`, `advised`.
    pub(super) class: &'static str,
    /// Name and value: `request 250 m`.
    pub(super) label: String,
    /// Where.
    pub(super) value: u64,
}

/// The Plimsoll mark: a circle and the line through it.
pub(super) fn logo() -> Markup {
    html! {
        svg.logo viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" {
            circle cx="16" cy="16" r="9" {}
            path d="M1 16H31" {}
        }
    }
}

/// What is set against what is used and advised, on one linear scale.
#[derive(Clone, Debug, Default)]
pub(super) struct FitBar {
    /// Request now.
    pub(super) now: Option<u64>,
    /// Recommended request.
    pub(super) advised: Option<u64>,
    /// Ordinary use: the dark part.
    pub(super) usual: Option<u64>,
    /// Peak use: the light part.
    pub(super) peak: Option<u64>,
    /// In words.
    pub(super) title: String,
}

/// Draws a fit bar, 160 by 22.
pub(super) fn fit_bar(bar: &FitBar) -> Markup {
    const WIDTH: f64 = 160.0;
    let largest = [bar.now, bar.advised, bar.usual, bar.peak]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(0);
    if largest == 0 {
        return html! { span.absent { "no data" } };
    }
    let x = |value: u64| {
        format!(
            "{:.1}",
            6.0 + value as f64 / largest as f64 * (WIDTH - 12.0)
        )
    };
    let width = |value: u64| format!("{:.1}", value as f64 / largest as f64 * (WIDTH - 12.0));
    html! {
        svg.fit viewBox="0 0 160 22" width="160" height="22" role="img" {
            title { (bar.title) }
            rect.track x="6" y="8" width="148" height="6" {}
            @if let Some(peak) = bar.peak { rect.peak x="6" y="8" width=(width(peak)) height="6" {} }
            @if let Some(usual) = bar.usual { rect.usual x="6" y="8" width=(width(usual)) height="6" {} }
            @if let Some(now) = bar.now { path.now d={ "M" (x(now)) " 2V20" } {} }
            @if let Some(advised) = bar.advised {
                circle.advised cx=(x(advised)) cy="11" r="4" {}
                path.advised d={ "M" (x(advised)) " 4V18" } {}
            }
        }
    }
}

/// Shares of values in logarithmic columns over an axis.
fn columns(sketch: &Sketch, axis: &Axis) -> Vec<f64> {
    let mut columns = vec![0.0; COLUMNS];
    let total = sketch.count().max(1) as f64;
    let place = |ns: u64| axis.share(ns as f64) * COLUMNS as f64;
    for bucket in sketch.buckets() {
        let (from, to) = (place(bucket.lower), place(bucket.upper));
        let width = (to - from).max(f64::EPSILON);
        // A bucket wider than a column is spread over the columns it covers.
        for (index, column) in columns.iter_mut().enumerate() {
            let overlap = (to.min(index as f64 + 1.0) - from.max(index as f64)).max(0.0);
            // What lies beyond an edge is drawn in the column at that edge.
            let first = index == 0 && to <= 0.0;
            let last = index + 1 == COLUMNS && from >= COLUMNS as f64;
            let part = if first || last { 1.0 } else { overlap / width };
            *column += bucket.count as f64 / total * part;
        }
    }
    columns
}

/// The outline of columns that stand on `bottom`; `top` is the share that is drawn highest.
fn outline(columns: &[f64], top: f64, width: f64, bottom: f64) -> String {
    let step = width / COLUMNS as f64;
    let mut path = format!("M0 {bottom}");
    for (index, share) in columns.iter().enumerate() {
        let y = bottom - share / top * (bottom - 44.0);
        // Writing to a string cannot fail.
        let _ignored: std::fmt::Result = write!(path, "V{y:.1}H{:.1}", (index as f64 + 1.0) * step);
    }
    let _ignored: std::fmt::Result = write!(path, "V{bottom}Z");
    path
}

/// Two distributions over a logarithmic axis of millicores: one second, and 100 ms. Marks rise in
/// value, so that each label stands above the lines to its right.
pub(super) fn distribution(
    seconds: &Sketch,
    periods: &Sketch,
    marks: &[Mark],
    title: &str,
) -> Markup {
    let (width, height, bottom) = (1200.0, 220.0, 180.0);
    let axis = Axis::of(seconds, periods, marks);
    let x = |ns: f64| axis.share(ns) * width;
    let (coarse, fine) = (columns(seconds, &axis), columns(periods, &axis));
    let shares = coarse.iter().chain(&fine).copied();
    let top = shares.fold(f64::EPSILON, f64::max);
    let area = |columns: &[f64]| outline(columns, top, width, bottom);
    html! {
        svg.distribution viewBox={ "0 0 " (width) " " (height) } role="img" {
            title { (title) }
            @for (ns, text) in axis.ticks() {
                path.grid d={ "M" (format!("{:.1}", x(ns))) " 40V" (bottom) } {}
                text.tick x=(format!("{:.1}", x(ns).clamp(14.0, width - 24.0))) y="198" { (text) }
            }
            @if !periods.is_empty() { path.fine d=(area(&fine)) {} }
            @if !seconds.is_empty() { path.coarse d=(area(&coarse)) {} }
            path.axis d={ "M0 " (bottom) "H" (width) } {}
            @for (index, mark) in marks.iter().enumerate() {
                @let at = x(mark.value as f64 * MILLICORE_NS);
                @let y = 12.0 + 13.0 * index as f64;
                path class={ "mark " (mark.class) } d={ "M" (format!("{at:.1}")) " " (y) "V" (bottom) } {}
                text class={ "mark " (mark.class) } x=(format!("{:.1}", at + 5.0)) y=(y + 6.0) { (mark.label) }
            }
            text.tick.end x=(width) y="216" { "CPU in one second or 100 ms, logarithmic" }
        }
    }
}

/// A logarithmic axis of CPU, nanoseconds of it in one second.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// One on which the distributions and the marks fit.
    fn of(seconds: &Sketch, periods: &Sketch, marks: &[Mark]) -> Self {
        let highest = seconds.max().max(periods.max()).unwrap_or(0) as f64;
        let marked = marks.iter().map(|mark| mark.value).max().unwrap_or(0) as f64 * MILLICORE_NS;
        // Room at the right for the label of the rightmost mark.
        let high = (highest * 1.15).max(marked * 2.5).max(10.0 * MILLICORE_NS);
        let low = left_edge(seconds, periods, marks, high);
        Self { low, high }
    }

    /// How far from its left edge a value lies, as a share of its length; above 1 beyond the right one.
    fn share(&self, ns: f64) -> f64 {
        (ns.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
    }

    /// Round numbers on it: powers of ten, and 2 and 5 between them where there is room.
    fn ticks(&self) -> Vec<(f64, String)> {
        let steps: &[f64] = if self.high / self.low < 2e3 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let mut out = Vec::new();
        // From a tenth of a millicore up; a machine with 10⁹ cores is not drawn.
        for exponent in 5..=18 {
            for step in steps {
                let ns = step * 10_f64.powi(exponent);
                if ns < self.low || ns > self.high * 0.97 {
                    continue;
                }
                let text = match ns / MILLICORE_NS {
                    m if m < 1000.0 => format!("{m} m"),
                    1000.0 => "1 core".to_owned(),
                    m => format!("{} cores", m / 1000.0),
                };
                out.push((ns, text));
            }
        }
        out
    }
}

/// Where the axis begins: below the first hundredth of the values and below every mark, at least
/// two decades left of the right edge, never below a tenth of a millicore.
fn left_edge(seconds: &Sketch, periods: &Sketch, marks: &[Mark], high: f64) -> f64 {
    let rare = |sketch: &Sketch| sketch.quantile(0.01).filter(|ns| *ns > 0);
    let marked = marks
        .iter()
        .map(|mark| mark.value.saturating_mul(1_000_000))
        .min();
    let lowest = [rare(seconds), rare(periods), marked]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(0) as f64;
    (lowest / 2.0).clamp(1e5, (high / 100.0).max(1e5))
}

/// One line of a time series.
pub(super) type Line<'a> = &'a dyn Fn(&Point) -> Option<u64>;

/// What a time series shows of a window.
pub(super) struct Lines<'a> {
    /// Mean length of the windows, seconds.
    pub(super) window_s: u64,
    /// The filled line.
    pub(super) area: Line<'a>,
    /// The thin line above it.
    pub(super) peak: Option<Line<'a>>,
    /// Horizontal marks.
    pub(super) marks: &'a [Mark],
    /// The highest value on the axis, in words.
    pub(super) shown: &'a dyn Fn(u64) -> String,
    /// In words.
    pub(super) title: String,
}

/// A time series, 720 by 150; a window that is missing leaves a gap.
pub(super) fn series(points: &[Point], lines: &Lines<'_>) -> Markup {
    let (width, height, bottom, top) = (720.0, 150.0, 126.0, 14.0);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return html! { p.absent { "No window yet." } };
    };
    let value = |point: &Point| {
        let peak = lines.peak.and_then(|peak| peak(point));
        (lines.area)(point).max(peak)
    };
    let highest = points
        .iter()
        .filter_map(value)
        .chain(lines.marks.iter().map(|m| m.value))
        .max()
        .unwrap_or(0)
        .max(1);
    // A single window still has a width.
    let window_s = lines.window_s.max(1);
    let begin = first.end_unix_s.saturating_sub(window_s) as f64;
    let span = (last.end_unix_s as f64 - begin).max(window_s as f64);
    let x = |s: u64| (s as f64 - begin) / span * width;
    let y = |v: u64| bottom - v as f64 / highest as f64 * (bottom - top);
    let labels = apart(lines.marks.iter().map(|mark| y(mark.value)), bottom);
    let clock = |unix_s| clock(unix_s, span);
    html! {
        svg.series viewBox={ "0 0 " (width) " " (height) } role="img" {
            title { (lines.title) }
            path.grid d={ "M0 " (top) "H" (width) } {}
            path.area d=(steps(points, lines.area, window_s, &x, &y, Some(bottom))) {}
            @if let Some(peak) = lines.peak { path.peak d=(steps(points, peak, window_s, &x, &y, None)) {} }
            @for (mark, at) in lines.marks.iter().zip(labels) {
                path class={ "mark " (mark.class) } d={ "M0 " (format!("{:.1}", y(mark.value))) "H" (width) } {}
                text class={ "mark end " (mark.class) } x=(width - 4.0) y=(format!("{at:.1}")) { (mark.label) }
            }
            path.axis d={ "M0 " (bottom) "H" (width) } {}
            text.tick x="0" y="10" { ((lines.shown)(highest)) }
            text.tick x="0" y="144" { (clock(first.end_unix_s.saturating_sub(window_s))) }
            text.tick.end x=(width) y="144" { (clock(last.end_unix_s)) " UTC" }
        }
    }
}

/// A stepped path over the windows; closed down to `floor` if there is one.
fn steps(
    points: &[Point],
    value: Line<'_>,
    window_s: u64,
    x: &dyn Fn(u64) -> f64,
    y: &dyn Fn(u64) -> f64,
    floor: Option<f64>,
) -> String {
    let mut path = String::new();
    let mut previous: Option<u64> = None;
    for point in points {
        let Some(at) = value(point) else {
            close(&mut path, previous.take(), floor);
            continue;
        };
        // What is further away than windows are long was not observed. Their lengths differ: one in
        // which a life began or ended is shorter.
        let apart = window_s.saturating_mul(2).min(window_s.saturating_add(30));
        let joined = previous.is_some_and(|end| point.end_unix_s.saturating_sub(end) <= apart);
        if !joined {
            close(&mut path, previous, floor);
            let begin = x(point.end_unix_s.saturating_sub(window_s)).max(0.0);
            let from = floor.unwrap_or_else(|| y(at));
            // Writing to a string cannot fail.
            let _ignored: std::fmt::Result = write!(path, "M{begin:.1} {from:.1}");
        }
        let _ignored: std::fmt::Result = write!(path, "V{:.1}H{:.1}", y(at), x(point.end_unix_s));
        previous = Some(point.end_unix_s);
    }
    close(&mut path, previous, floor);
    path
}

fn close(path: &mut String, open: Option<u64>, floor: Option<f64>) {
    if let (Some(_), Some(floor)) = (open, floor) {
        let _ignored: std::fmt::Result = write!(path, "V{floor:.1}Z");
    }
}

/// A time on an axis of so many seconds, UTC: hours and minutes, and what it takes besides to tell its
/// ends apart.
fn clock(unix_s: u64, span_s: f64) -> String {
    let text = rfc3339(unix_s.saturating_mul(1_000_000_000));
    let part = |range| text.get(range).unwrap_or_default();
    match span_s {
        ..SECONDS_BELOW_S => part(11..19).to_owned(),
        ..DATE_FROM_S => part(11..16).to_owned(),
        _ => format!("{} {}", part(0..10), part(11..16)),
    }
}

/// Where the labels of lines at these heights stand: each above its line, or below it where the one
/// above is too near; never on one another, and not below `bottom`.
fn apart(lines: impl Iterator<Item = f64>, bottom: f64) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = lines.enumerate().collect();
    order.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let mut above = f64::NEG_INFINITY;
    for (_, y) in &mut order {
        let free = above + LABEL_HEIGHT;
        let over = (*y - 4.0).max(10.0);
        *y = if over >= free {
            over
        } else {
            (*y + 11.0).max(free)
        };
        above = *y;
    }
    let mut below = bottom - 2.0 + LABEL_HEIGHT;
    for (_, y) in order.iter_mut().rev() {
        *y = y.min(below - LABEL_HEIGHT);
        below = *y;
    }
    order.sort_by_key(|(index, _)| *index);
    order.into_iter().map(|(_, y)| y).collect()
}

/// A plain proportional bar, 120 by 8.
pub(super) fn proportion(value: u64, of: u64) -> Markup {
    let width = if of == 0 {
        0.0
    } else {
        (value as f64 / of as f64).min(1.0) * 120.0
    };
    html! {
        svg.fit viewBox="0 0 120 8" width="120" height="8" aria-hidden="true" {
            rect.track width="120" height="8" {}
            rect.usual width=(format!("{width:.1}")) height="8" {}
        }
    }
}
