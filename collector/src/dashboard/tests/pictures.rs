//! Pictures: what is drawn where, and what they say of themselves.

use super::*;
use crate::dashboard::chart::Mark;
use crate::history::usage::Point;

/// Windows of 100 millicores that end at these seconds.
fn picture(window_s: u64, ends: &[u64], marks: &[Mark]) -> String {
    let point = |end_unix_s: &u64| Point {
        end_unix_s: 1_000_000_800 + end_unix_s,
        mean_millicores: Some(100),
        max_millicores: None,
        memory_kib: None,
        throttled_permille: None,
    };
    let points: Vec<Point> = ends.iter().map(point).collect();
    let lines = chart::Lines {
        window_s,
        area: &|point| point.mean_millicores,
        peak: None,
        marks,
        shown: &|value| value.to_string(),
        title: String::new(),
    };
    chart::series(&points, &lines).into_string()
}

/// Windows are drawn as long as they are: what was not observed between them is a gap.
#[test]
fn a_window_is_drawn_no_longer_than_it_was() {
    let draw = |window_s, ends: [u64; 3]| {
        let html = picture(window_s, &ends, &[]);
        let path = html.split_once("<path class=\"area\" d=\"").unwrap().1;
        path.split_once('"').unwrap().0.to_owned()
    };
    // 720 wide: 10 s of 60 s are 120.
    assert_eq!(
        draw(10, [10, 20, 60]),
        "M0.0 126.0V14.0H120.0V14.0H240.0V126.0ZM600.0 126.0V14.0H720.0V126.0Z"
    );
    assert_eq!(draw(60, [60, 120, 180]).matches('M').count(), 1);
    assert_eq!(draw(60, [60, 120, 240]).matches('M').count(), 2);
}

#[test]
fn the_ends_of_an_axis_are_told_apart() {
    let axis = |window_s, ends: &[u64]| {
        let html = picture(window_s, ends, &[]);
        let texts = html.split("y=\"144\">").skip(1);
        let texts: Vec<String> = texts
            .map(|text| text.split_once('<').unwrap().0.to_owned())
            .collect();
        texts.join(" to ")
    };
    assert_eq!(axis(10, &[10]), "02:00:00 to 02:00:10 UTC");
    assert_eq!(axis(10, &[20, 59]), "02:00:10 to 02:00:59 UTC");
    assert_eq!(axis(60, &[60, 540]), "02:00:00 to 02:09:00 UTC");
    assert_eq!(axis(60, &[60, 600]), "02:00 to 02:10 UTC");
    let days = "2001-09-09 02:00 to 2001-09-11 02:00 UTC";
    assert_eq!(axis(60, &[60, 2 * 86_400]), days);
}

/// Heights of the labels of lines with these values, in their order.
#[track_caller]
fn check_labels(values: &[u64], expected: &[&str]) {
    let marks: Vec<Mark> = values
        .iter()
        .map(|value| Mark {
            class: "now",
            label: "here".to_owned(),
            value: *value,
        })
        .collect();
    let html = picture(60, &[60, 120], &marks);
    let texts = html
        .split("<text class=\"mark end now\" x=\"716\" y=\"")
        .skip(1);
    let heights: Vec<&str> = texts.map(|text| text.split_once('"').unwrap().0).collect();
    assert_eq!(heights, expected);
}

/// The highest value is drawn at 14, nothing at 126; a label is 13 high.
#[test]
fn labels_of_lines_that_are_close_stand_apart() {
    check_labels(&[50, 100], &["66.0", "10.0"]);
    // One below its line, in whatever order they come.
    check_labels(&[96, 100], &["29.5", "10.0"]);
    check_labels(&[100, 96], &["10.0", "29.5"]);
    check_labels(&[100, 100], &["10.0", "25.0"]);
    check_labels(&[100, 98, 96], &["10.0", "27.2", "40.2"]);
    // No room below: the other one goes up.
    check_labels(&[1, 2], &["124.0", "111.0"]);
}

/// What is not drawn any more is not spoken of below the picture.
#[test]
fn the_picture_of_cpu_counts_its_own_windows() {
    let (id, one) = series("shop", "job", "app", 0);
    let mut one = Series::clone(&one);
    let first = NOW / MINUTE_NS - 190;
    for minute in 0..190 {
        let mut window = window(&id, first + minute, 100, 64 << 20);
        if !(5..=187).contains(&minute) {
            window.observed_ns = 1;
        }
        one.add("node-a", &window);
    }
    let fleet = Fleet::group(vec![(id, Arc::new(one))], NOW);
    let containers: Vec<_> = fleet.workload("shop", "Deployment", "job").collect();
    let html = workload(&containers, "2026-01-05T00:00:00Z").into_string();
    says(
        "the workload",
        &html,
        "too little is known of 2 windows for a mean",
    );
}

/// The picture is cut where the answer is, and says so.
#[test]
fn the_picture_of_requests_says_that_it_leaves_out_older_ones() {
    let rows: Vec<_> = (0..3)
        .map(|seq| Arc::new(crate::api::tests::access(seq, NOW, "CRED", "shop")))
        .collect();
    let page = |more| audit(&AuditQuery::default(), Ok((&rows, more)), NOW).into_string();
    let words = "Counted are the newest 3 events that match, not the older ones.";
    says("the audit page", &page(true), words);
    assert!(!page(false).contains("Counted are"));
}
