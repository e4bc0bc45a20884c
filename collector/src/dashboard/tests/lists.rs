//! Lists that are cut, and say so.

use super::*;

#[test]
fn what_the_overview_does_not_list_of_the_nameless_and_the_hosts_is_counted() {
    let page = |number: u64| {
        let of = |n: u64| {
            let (key, one) = series("shop", "api", "app", 2);
            let mut nameless = Arc::unwrap_or_clone(one);
            (nameless.names, nameless.name_pending) = (None, true);
            let mut host = nameless.clone();
            host.identity.subject = plimsoll_wire::identity::Subject::Host {
                unit: format!("unit-{n}.service"),
            };
            let both = [nameless, host].into_iter().zip(["nameless", "host"]);
            both.map(move |(one, what)| (format!("{key}-{n}-{what}"), Arc::new(one)))
        };
        let snapshot = (0..number).flat_map(of).collect();
        overview_of(snapshot, &OverviewQuery::default())
    };
    let words = "and 2 more in <a href=\"/api/v1/sizing\">the JSON</a>.";
    assert_eq!(
        page(27).matches(words).count(),
        2,
        "{}",
        begin_of(&page(27))
    );
    assert!(!page(25).contains(" more in <a"));
}
