//! A disk that refuses, a collector that takes nothing, a tree that is not there.

use plimsoll_wire::Class;

use super::*;
use crate::export::standing::Reason;
use crate::test_log::TestLog;

#[test]
fn a_disk_that_refuses_is_told_once_and_so_is_its_end() {
    let mut stage = Stage::new(&[]);
    let log = TestLog::default();
    let _logging = log.start();
    let told = |with: &str| log.lines(with).len();
    let folders = ["usage", "security"].map(|class| stage.folder.path().join(class));
    for folder in &folders {
        std::fs::remove_dir_all(folder).unwrap();
    }
    let mut write = || {
        stage.node.heartbeat(false);
        stage.node.write();
    };
    for _ in 0..5 {
        write();
    }
    assert_eq!(told("spool could not be written"), 1);
    assert_eq!(told("spool can be written again"), 0);
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
    }
    write();
    write();
    assert_eq!(told("spool can be written again"), 1);
    assert_eq!(told("spool could not be written"), 1);
}

/// Ready means sampling: a collector that is away or refuses is told, and changes nothing of it.
#[test]
fn ready_is_who_samples_whatever_the_collector_says() {
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n")]);
    let exports = Arc::clone(&stage.node.setup.exports);
    for class in Class::ALL {
        exports.failed(class, Reason::RefusedToken, "no known bearer token", "c");
    }
    stage.node.sample();
    let health = stage.node.setup.status.health();
    assert!(health.ready, "{health:?}");
    let told = |line: &&String| line.contains("the collector refuses the token");
    assert_eq!(health.degraded.iter().filter(told).count(), 2, "{health:?}");
    stage.node.roots = Roots::default();
    stage.node.sample();
    assert!(!stage.node.setup.status.health().ready, "nothing to sample");
}

/// A tree whose files are all refused, or that cannot be walked, is mounted and yet nobody samples it.
#[test]
fn ready_is_who_reads_something_or_has_nothing_to_read() {
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n")]);
    let is_ready = |stage: &mut Stage| {
        stage.node.sample();
        stage.node.setup.status.health().ready
    };
    assert!(is_ready(&mut stage));
    // As where its files cannot be opened.
    let id = std::fs::metadata(&stage.container).unwrap().ino();
    assert!(stage.node.sampler.remove(id));
    assert!(!is_ready(&mut stage), "followed, and not read");
    stage.node.rescan();
    assert!(is_ready(&mut stage));
    std::fs::remove_dir_all(&stage.container).unwrap();
    stage.node.rescan();
    assert!(is_ready(&mut stage), "there is none");
    let cgroup = stage.folder.path().join("cgroup");
    std::fs::rename(&cgroup, stage.folder.path().join("aside")).unwrap();
    stage.node.rescan();
    assert!(!is_ready(&mut stage), "nobody knows whether there is one");
}

/// The tree bears the label of a pod that mounted cgroup2: told, shown and counted, and no reason
/// not to be ready.
#[test]
fn a_relabelled_tree_is_shown_and_counted() {
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n")]);
    assert_eq!(stage.metric("plimsoll_agent_cgroups_relabelled "), 0);
    let label = "system_u:object_r:data_t:s0:c240,c522";
    stage.node.labels = CgroupLabels::judge([("/".to_owned(), Some(label.to_owned()))]);
    stage.node.sample();
    let health = stage.node.setup.status.health();
    assert!(health.ready);
    assert!(health.degraded.iter().any(|line| line.contains(label)));
    assert_eq!(stage.metric("plimsoll_agent_cgroups_relabelled "), 1);
    // The next walk finds the tree as it is.
    stage.node.rescan();
    assert_eq!(stage.metric("plimsoll_agent_cgroups_relabelled "), 0);
}
