//! What may go wrong between the collector and the API server. In the end the collector knows what the
//! server knows.

use std::time::Duration;

use plimsoll_collector::cluster::census::State;
use plimsoll_collector::inventory::Index;
use plimsoll_tests::apiserver::fleet::Fleet;
use plimsoll_tests::apiserver::{
    API_AUDIENCE, ApiServer, Canned, Fault, On, Options, Request, Token, User, after, amid,
    recorded,
};
use serde_json::{Value, json};

use super::rig::{PODS, Rig, pod};

/// The fault at the start, in the first list or the watch that tells it; all pods are known afterwards.
#[track_caller]
fn check_start(options: Options, on: On, fault: Fault) -> (Rig, Vec<Request>) {
    let server = ApiServer::start(options).unwrap();
    server.fault(on, fault);
    let rig = Rig::of(server, &[]);
    rig.until_synced();
    rig.until("all pods are known", |index| index.pods() == 63);
    let asked = rig.server.requests();
    let asked = asked.into_iter().filter(|asked| asked.path == PODS);
    let asked = asked.collect();
    (rig, asked)
}

/// The fault in the watch that goes on; what happens then is told all the same.
#[track_caller]
fn check_later(fault: Fault) -> Rig {
    let rig = Rig::recorded(Options::default());
    rig.until("all pods are known", |index| index.pods() == 63);
    // The watch that is open ends, and the next one has the fault.
    rig.server.fault(On::watch(PODS), fault);
    rig.interrupt();
    rig.server.apply(pod("one")).unwrap();
    rig.server
        .delete("", "pods", "shop", "web-9d97b65d4-4jtvg")
        .unwrap();
    rig.server.apply(pod("two")).unwrap();
    rig.until("what happened is known", |index| {
        index.lookup("uid-two", Some("c-two")).is_some()
            && index.lookup("uid-one", None).is_some()
            && index.pods() == 64
    });
    rig
}

#[test]
fn an_older_server_is_asked_for_pages() {
    let options = Options {
        watch_list: false,
        ..Options::default()
    };
    let (rig, asked) = check_start(options, On::list(PODS).times(0), Fault::gone());
    assert!(asked.iter().any(|asked| asked.query.contains("limit=500")));
    rig.finish();
}

#[test]
fn pages_that_expire_are_asked_for_anew_and_then_for_the_whole() {
    let options = Options {
        watch_list: false,
        ..Options::default()
    };
    let (rig, asked) = check_start(options, On::list(PODS).times(2), Fault::gone());
    let lists: Vec<bool> = asked
        .iter()
        .filter(|asked| asked.watch == Some(false))
        .map(|asked| asked.query.contains("limit="))
        .collect();
    assert_eq!(lists, [true, true, false]);
    rig.finish();
}

/// All pods are known after these faults of their pages, and of later watches; whether each list of pods was one of
/// pages.
#[track_caller]
fn check_pages(faults: &[(On, Fault)], is_interrupted: bool) -> Vec<bool> {
    let server = ApiServer::start(Options {
        watch_list: false,
        ..Options::default()
    })
    .unwrap();
    Fleet::new(20, 1_100).load(&server).unwrap();
    for (on, fault) in faults {
        server.fault(on.clone(), fault.clone());
    }
    let rig = Rig::watching(server);
    rig.until("all pods are known", |index| index.pods() == 1_100);
    if is_interrupted {
        rig.server.fault(On::watch(PODS), Fault::gone());
        rig.interrupt();
        rig.server.apply(pod("one")).unwrap();
        rig.until("what happened is known", |index| {
            index.lookup("uid-one", None).is_some()
        });
    }
    let asked = rig.finish();
    let lists = asked.iter().filter(|asked| asked.path == PODS);
    let lists = lists.filter(|asked| asked.watch == Some(false));
    lists.map(|asked| asked.query.contains("limit=")).collect()
}

/// The second page twice: of the first list, and of the one that is begun for it.
fn second_pages(fault: &Fault) -> [(On, Fault); 2] {
    [1, 2].map(|calls| (On::list(PODS).skip(calls), fault.clone()))
}

/// All pods in one piece is what costs a server most.
#[test]
fn the_whole_is_asked_for_only_when_pages_expire_again_and_again() {
    let once = &second_pages(&Fault::gone())[..1];
    assert_eq!(check_pages(once, false), [true; 5]);
    let refused = second_pages(&Fault::unavailable());
    assert_eq!(check_pages(&refused, false), [true; 7]);
    let expired = second_pages(&Fault::gone());
    let found = check_pages(&expired, true);
    assert_eq!(found[..6], [true, true, true, true, false, true]);
}

#[test]
fn a_list_that_breaks_off_is_told_anew() {
    for fault in [
        Fault::Reset(amid(20, 100)),
        Fault::Cut(after(20)),
        Fault::End(after(20)),
        Fault::bad_json(5),
        Fault::wrong_types(5, "v1", "Pod"),
        Fault::gone_event(20),
        Fault::Twice,
        Fault::Swapped,
        Fault::unavailable(),
        Fault::status(500, "InternalError", "etcd"),
    ] {
        let (rig, _) = check_start(Options::default(), On::watch(PODS), fault.clone());
        rig.finish();
    }
}

#[test]
fn a_watch_that_breaks_off_is_taken_up_again() {
    for fault in [
        Fault::Reset(amid(1, 50)),
        Fault::Cut(after(1)),
        Fault::closed(),
        Fault::bad_json(1),
        Fault::wrong_types(1, "v1", "Pod"),
        Fault::gone_event(0),
        Fault::gone(),
        Fault::Twice,
        Fault::unavailable(),
    ] {
        check_later(fault).finish();
    }
}

/// A watch that the server ends at once, each time: asked for again, but not without end.
#[test]
fn a_watch_that_ends_at_once_is_no_storm() {
    let rig = Rig::recorded(Options::default());
    rig.server.fault(On::watch(PODS).always(), Fault::closed());
    rig.interrupt();
    let count = || {
        let asked = rig.server.requests();
        asked.iter().filter(|asked| asked.path == PODS).count()
    };
    let before = count();
    std::thread::sleep(Duration::from_secs(4));
    let asked = count() - before;
    assert!((2..=6).contains(&asked), "{asked} requests in 4 s");
    rig.server.heal();
    rig.server.apply(pod("one")).unwrap();
    rig.until("it is known", |index| {
        index.lookup("uid-one", None).is_some()
    });
    rig.finish();
}

/// As behind a proxy that answers everything with a page of its own.
#[test]
fn answers_that_hold_nothing_are_failures() {
    let empty = Fault::Answer(Canned {
        status: 200,
        headers: Vec::new(),
        content_type: "text/html",
        body: String::new(),
    });
    let server = ApiServer::start(Options::default()).unwrap();
    server.fault(On::any(PODS).always(), empty);
    let rig = Rig::of(server, &[]);
    rig.until("it is told", |_| {
        let told = "Pod: it ended before all was told".to_owned();
        rig.census.troubles(Duration::ZERO).contains(&told)
    });
    rig.server.heal();
    rig.until("all pods are known", |index| index.pods() == 63);
    rig.finish();
}

#[test]
fn a_server_that_asks_to_wait_is_let_alone() {
    let on = On::watch(PODS);
    let (rig, asked) = check_start(Options::default(), on, Fault::too_many_requests(3));
    let times: Vec<Duration> = asked.iter().map(|asked| asked.at).collect();
    let waited = times[1].checked_sub(times[0]).unwrap();
    assert!(waited >= Duration::from_secs(3), "{times:?}");
    rig.finish();
}

#[test]
fn a_kind_that_may_not_be_seen_is_told_and_the_rest_is_known() {
    let server = ApiServer::start(Options::default()).unwrap();
    server.deny("*", "", "limitranges");
    server.deny("*", "apps", "replicasets");
    let rig = Rig::of(server, &[]);
    rig.until_synced();
    rig.until("all pods are known", |index| index.pods() == 63);
    let denied = ["LimitRange", "ReplicaSet"]
        .map(|kind| format!("{kind}: the account may not list and watch it"));
    assert_eq!(rig.census.troubles(Duration::ZERO), denied);
    assert!(!rig.census.is_told(Duration::ZERO));
    // What nobody will tell is not waited for.
    let pods = recorded::list("pods.json").unwrap();
    let of = |pod: &&Value| pod["metadata"]["name"] == "cache-d76ccdbd-49sx7";
    let uid = pods["items"].as_array().unwrap().iter().find(of).unwrap()["metadata"]["uid"].clone();
    let uid = uid.as_str().unwrap();
    rig.until("it waits for no owner", |index| {
        !index.is_pending(uid, None)
    });
    let workload = rig.index.get().lookup(uid, None).unwrap().workload;
    assert_eq!(workload.kind, "ReplicaSet");
    rig.finish();
}

/// As while a server starts.
#[test]
fn a_kind_that_every_cluster_has_and_this_one_lacks_holds_up_no_other() {
    let server = ApiServer::start(Options::default()).unwrap();
    server.hide_group("batch");
    server.expect("/apis/batch/v1/*");
    let rig = Rig::of(server, &["jobs.json", "cronjobs.json"]);
    rig.until_synced();
    let state = |kind: &str| rig.census.rows()[&("batch".to_owned(), kind.to_owned())].state;
    assert_eq!(
        (state("Job"), state("CronJob")),
        (State::Absent, State::Absent)
    );
    rig.until("all pods are known", |index| index.pods() == 63);
    rig.finish();
}

/// As while an API server starts: which kinds it has is asked for again soon.
#[test]
fn kinds_are_looked_for_again_when_the_server_gave_no_answer() {
    let server = ApiServer::start(Options::default()).unwrap();
    server.fault(On::any("/apis"), Fault::unavailable());
    let rig = Rig::of(server, &[]);
    let rollouts = ("argoproj.io".to_owned(), "Rollout".to_owned());
    rig.until("Rollouts are known", |_| {
        let row = rig.census.rows().remove(&rollouts);
        row.is_some_and(|row| row.state == State::Live)
    });
    rig.finish();
}

/// The kubelet writes a new token before the old one expires; a client that was late is refused for a
/// while.
#[test]
fn a_token_that_expired_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first").unwrap();
    let server = ApiServer::start(Options::default()).unwrap();
    let account = User::service_account("plimsoll", "plimsoll-collector");
    server.token("first", Token::valid(account.clone(), API_AUDIENCE));
    server.load(&recorded::list("pods.json").unwrap()).unwrap();
    let rig = Rig::with(server, |server| {
        server.kubeconfig_of(&json!({"tokenFile": file}))
    });
    rig.until("all pods are known", |index| index.pods() == 63);
    rig.server.token("first", Token::expired());
    rig.server
        .token("second", Token::valid(account, API_AUDIENCE));
    rig.server.end_watches();
    rig.server.apply(pod("one")).unwrap();
    std::fs::write(&file, "second").unwrap();
    rig.until("what happened is known", |index| {
        index.lookup("uid-one", None).is_some()
    });
    rig.finish();
}

#[test]
fn objects_that_cannot_be_read_are_counted_and_cost_themselves() {
    let mut pods = recorded::list("pods.json").unwrap();
    pods["items"][3]["spec"]["containers"] = "none".into();
    let server = ApiServer::start(Options::default()).unwrap();
    for name in recorded::LISTS.iter().filter(|name| **name != "pods.json") {
        server.load(&recorded::list(name).unwrap()).unwrap();
    }
    server.load(&pods).unwrap();
    let rig = Rig::watching(server);
    rig.until_synced();
    rig.until("the others are known", |index| index.pods() == 62);
    let rows = rig.census.rows();
    assert_eq!(rows[&(String::new(), "Pod".to_owned())].malformed, 1);
    // Mended, it is known; broken again, it keeps what it said.
    let name = pods["items"][3]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let namespace = pods["items"][3]["metadata"]["namespace"]
        .as_str()
        .unwrap()
        .to_owned();
    let uid = pods["items"][3]["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut whole = pod(&name);
    whole["metadata"]["namespace"] = namespace.into();
    whole["metadata"]["uid"] = uid.clone().into();
    rig.server.apply(whole.clone()).unwrap();
    rig.until("it is known", |index| index.lookup(&uid, None).is_some());
    whole["spec"]["containers"] = 7.into();
    rig.server.apply(whole).unwrap();
    rig.server.apply(pod("one")).unwrap();
    rig.until("a later one is known", |index| {
        index.lookup("uid-one", None).is_some()
    });
    assert!(rig.index.get().lookup(&uid, None).is_some());
    rig.finish();
}

/// As those of a metrics server that is away, of which somebody has pods owned; until it answers that it has none.
#[test]
fn kinds_of_a_group_that_does_not_answer_leave_their_places_to_others() {
    const GROUP: &str = "metrics.k8s.io";
    let owned = |n: usize| {
        let mut pod = pod(&format!("p{n}"));
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": format!("{GROUP}/v1beta1"),
            "kind": format!("MadeUp{n}"), "name": "o", "uid": "o", "controller": true}]);
        pod
    };
    let server = ApiServer::start(Options::default()).unwrap();
    server.set_stale(GROUP, true);
    server.apply_all((0..64).map(owned)).unwrap();
    let rig = Rig::impatient(server);
    let counts = |index: &Index| {
        let (strange, unanswered) = (index.strange_kinds(), index.unanswered_kinds());
        (strange.count(), unanswered.count())
    };
    rig.until("no answer is told", |index| counts(index) == (0, 64));
    rig.server.set_stale(GROUP, false);
    rig.until("nothing is left to look for", |index| {
        counts(index).1 == 0 && index.pods() == 64
    });
    rig.finish();
}
