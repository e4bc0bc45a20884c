//! A disk that refuses.

use super::*;
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
        stage.node.heartbeat();
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
