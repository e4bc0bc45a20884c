use super::*;

fn pod(uid: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p-{uid}, namespace: n, uid: {uid}}}\n")
}

#[test]
fn changes_are_seen_and_a_broken_file_keeps_its_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pods.yaml");
    std::fs::write(&file, pod("one")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not an inventory").unwrap();
    let (mut inventory, first) = Inventory::open(vec![dir.path().to_owned()]);
    let reader = inventory.reader();
    assert_eq!(
        (first.changed, first.objects, first.problems.len()),
        (1, 1, 0)
    );
    assert!(reader.get().lookup("one", None).is_some());
    assert_eq!(inventory.look().changed, 0);

    std::fs::write(&file, "kind: [").unwrap();
    let broken = inventory.look();
    assert_eq!(broken.changed, 1);
    assert!(
        broken
            .problems
            .iter()
            .all(|p| p.file.ends_with("pods.yaml")),
        "{:?}",
        broken.problems
    );
    assert!(reader.get().lookup("one", None).is_some());

    std::fs::write(&file, pod("one") + "---\n" + &pod("two")).unwrap();
    assert_eq!(inventory.look().objects, 2);
    assert!(reader.get().lookup("two", None).is_some());

    std::fs::remove_file(&file).unwrap();
    assert_eq!(inventory.look().objects, 0);
    assert!(reader.get().lookup("one", None).is_none());
}

#[test]
fn two_pods_of_one_uid_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), pod("one")).unwrap();
    let twin = pod("one").replace("p-one", "twin");
    let file = dir.path().join("b.yaml");
    std::fs::write(&file, "---\n".to_owned() + &twin).unwrap();
    let (mut inventory, first) = Inventory::open(vec![dir.path().to_owned()]);
    let [problem] = first.problems.try_into().unwrap();
    let place = problem.to_string();
    assert!(
        place.contains("b.yaml:4: metadata.uid: Pod n/twin"),
        "{place}"
    );
    assert!(place.contains("a.yaml:3 too"), "{place}");
    let used = inventory.reader().get().lookup("one", None).unwrap();
    assert_eq!(used.pod, "twin", "the later one, as is said");
    assert!(inventory.look().problems.is_empty());
    std::fs::write(&file, pod("two")).unwrap();
    assert!(inventory.look().problems.is_empty());
    std::fs::write(&file, twin).unwrap();
    assert_eq!(
        inventory.look().problems.len(),
        1,
        "again, and so is told again"
    );
}

/// A list without the pod, or no file any more.
#[test]
fn a_deleted_pod_keeps_its_name_for_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pods.yaml");
    std::fs::write(&file, pod("one") + "---\n" + &pod("two")).unwrap();
    let (inventory, _) = Inventory::open(vec![dir.path().to_owned()]);
    let at = |s| Moment {
        since_start: Duration::from_secs(s),
        ..Moment::default()
    };
    let mut inventory = inventory.keeping_deleted(Duration::from_mins(10));
    let reader = inventory.reader();
    let known = |uid: &str| reader.get().lookup(uid, None).is_some();
    std::fs::write(&file, pod("two")).unwrap();
    let look = inventory.look_at(at(100));
    let deleted = || reader.get().gone();
    assert_eq!((look.objects, deleted()), (1, 1));
    std::fs::remove_file(&file).unwrap();
    let look = inventory.look_at(at(200));
    assert_eq!((look.objects, deleted()), (0, 2));
    assert!(known("one") && known("two"));
    inventory.look_at(at(699));
    assert!(known("one") && known("two"));
    inventory.look_at(at(700));
    assert!(!known("one") && known("two"));
    std::fs::write(&file, pod("two")).unwrap();
    let look = inventory.look_at(at(701));
    assert_eq!((look.objects, deleted()), (1, 0));
    inventory.look_at(at(9000));
    assert!(known("two"));
}

#[tokio::test]
async fn a_change_is_seen_after_the_time_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (inventory, _) = Inventory::open(vec![dir.path().to_owned()]);
    std::fs::write(dir.path().join("pods.yaml"), pod("one")).unwrap();
    let stop = CancellationToken::new();
    let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let every = Duration::from_millis(1);
    let watching = inventory.watch(every, stop.clone(), move |found| {
        told.send(found.objects).unwrap();
    });
    let watching = tokio::spawn(watching);
    assert_eq!(seen.recv().await, Some(1));
    stop.cancel();
    watching.await.unwrap().unwrap();
}

/// As after a `chmod`, which changes neither time nor length.
#[test]
fn a_file_that_could_not_be_read_is_tried_again_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pods.yaml");
    let text = pod("one");
    let write = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let opened = std::fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    write(&vec![0xff; text.len()]);
    let (mut inventory, first) = Inventory::open(vec![dir.path().to_owned()]);
    assert_eq!((first.objects, first.problems.len()), (0, 1));
    let again = inventory.look();
    assert_eq!((again.changed, again.problems.len()), (0, 0));
    let last = inventory.last_look();
    let [trouble] = last.get().troubles.try_into().unwrap();
    assert!(trouble.contains("pods.yaml: cannot be read"), "{trouble}");
    write(text.as_bytes());
    assert_eq!(inventory.look().objects, 1);
    assert!(last.get().troubles.is_empty());
}

#[test]
fn a_file_that_is_too_large_is_a_trouble_until_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pods.yaml");
    std::fs::write(&file, pod("one")).unwrap();
    let (mut inventory, _) = Inventory::open(vec![dir.path().to_owned()]);
    let opened = std::fs::File::options().write(true).open(&file).unwrap();
    opened.set_len(MAX_FILE_BYTES + 1).unwrap();
    let look = inventory.look();
    assert_eq!(
        (look.objects, look.problems.len()),
        (1, 1),
        "it says what it said"
    );
    let last = inventory.last_look();
    let [trouble] = last.get().troubles.try_into().unwrap();
    assert!(
        trouble.contains("pods.yaml: 268435457 bytes are more"),
        "{trouble}"
    );
    std::fs::write(&file, pod("one")).unwrap();
    assert_eq!(inventory.look().objects, 1);
    assert!(last.get().troubles.is_empty());
}

#[test]
fn a_folder_that_cannot_be_looked_at_keeps_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, aside) = (dir.path().join("objects"), dir.path().join("aside"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("pods.yaml"), pod("one")).unwrap();
    let (mut inventory, _) = Inventory::open(vec![folder.clone()]);
    std::fs::rename(&folder, aside).unwrap();
    // ELOOP, which unlike ENOENT says nothing about what is there.
    std::os::unix::fs::symlink(&folder, &folder).unwrap();
    let unsure = inventory.look();
    assert_eq!((unsure.objects, unsure.problems.len()), (1, 1));
    assert_eq!(inventory.look().problems.len(), 0);
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(inventory.look().objects, 0);
}

/// As the kubelet mounts a ConfigMap, and changes it.
#[test]
fn a_file_is_read_once_by_however_many_links_it_is_reached() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let write = |version: &str, text: &str| {
        std::fs::create_dir(dir.path().join(version)).unwrap();
        let file = dir.path().join(version).join("pods.yaml");
        std::fs::write(&file, text).unwrap();
        let opened = std::fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    write("..2026_1", &pod("one"));
    symlink("..2026_1", dir.path().join("..data")).unwrap();
    symlink("..data/pods.yaml", dir.path().join("pods.yaml")).unwrap();
    // And links of one's own: to the file, to the folder itself.
    symlink("pods.yaml", dir.path().join("same.yaml")).unwrap();
    symlink(".", dir.path().join("loop")).unwrap();
    let (mut inventory, first) = Inventory::open(vec![dir.path().to_owned()]);
    assert_eq!((first.objects, first.changed), (1, 1));
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    // Of the same length and time.
    write("..2026_2", &pod("two"));
    symlink("..2026_2", dir.path().join("..new")).unwrap();
    std::fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
    let second = inventory.look();
    assert_eq!((second.objects, second.changed), (1, 1));
    assert!(inventory.reader().get().lookup("two", None).is_some());
}

#[test]
fn a_missing_path_is_named() {
    let (_, reloaded) = Inventory::open(vec![PathBuf::from("/nonexistent/objects.yaml")]);
    assert_eq!(reloaded.problems.len(), 1);
    assert_eq!(reloaded.problems[0].file, "/nonexistent/objects.yaml");
}

/// A pipe that nobody writes into would keep the inventory waiting for ever.
#[test]
fn only_regular_files_are_read() {
    use std::os::unix::net::UnixListener;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pods.yaml"), pod("one")).unwrap();
    let pipe = dir.path().join("pipe.yaml");
    let mode = rustix::fs::Mode::from_bits_truncate(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket.json")).unwrap();
    let given = PathBuf::from("/dev/null");
    let (mut inventory, first) = Inventory::open(vec![dir.path().to_owned(), given]);
    let told: Vec<_> = first.problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "left out: it is a pipe (FIFO), and only regular files are read",
            "left out: it is a socket, and only regular files are read",
            "left out: it is a device, and only regular files are read",
        ]
    );
    assert_eq!(first.objects, 1);
    assert_eq!(inventory.last_look().get().troubles.len(), 3);
    assert!(inventory.look().problems.is_empty(), "told once");
    std::fs::remove_file(&pipe).unwrap();
    std::fs::write(&pipe, pod("two")).unwrap();
    assert_eq!(inventory.look().objects, 2);
}

/// A pipe in the place of a file between the two looks at it.
#[test]
fn a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pods.yaml");
    let mode = rustix::fs::Mode::from_bits_truncate(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let error = read_text(&pipe).unwrap_err();
    assert_eq!(error.to_string(), "it is no regular file any more");
}

/// It has grown since it was listed: neither read nor cut.
#[test]
fn a_file_that_has_grown_is_not_read_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    let file = File::create(&path).unwrap();
    file.set_len(MAX_FILE_BYTES + 1).unwrap();
    let error = read_text(&path).unwrap_err();
    assert_eq!(error.to_string(), "it has grown too large");
}

#[test]
fn what_is_left_out_is_a_trouble_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pods.yaml");
    let bad = |uid: &str| {
        let resources = "resources: {limits: {cpu: much}}";
        let spec = format!("spec: {{containers: [{{name: app, {resources}}}]}}\n");
        pod(uid) + &spec
    };
    std::fs::write(&file, bad("one")).unwrap();
    let (mut inventory, first) = Inventory::open(vec![file.clone()]);
    assert_eq!((first.objects, first.problems.len()), (1, 1));
    assert!(inventory.reader().get().lookup("one", None).is_some());
    let last = inventory.last_look();
    let [trouble] = last.get().troubles.try_into().unwrap();
    let place = ":4: spec.containers[0].resources.limits.cpu: Pod n/p-one: `much` is not";
    assert!(trouble.contains(place), "{trouble}");
    inventory.look();
    assert_eq!(last.get().troubles.len(), 1, "it is as it was");
    let many: Vec<_> = (0..20).map(|n| bad(&format!("u{n}"))).collect();
    std::fs::write(&file, many.join("---\n")).unwrap();
    inventory.look();
    let troubles = last.get().troubles;
    assert_eq!(troubles.len(), MAX_NAMED + 1);
    assert!(troubles[MAX_NAMED].ends_with("pods.yaml: and 4 more, see the log"));
    std::fs::write(&file, pod("one")).unwrap();
    inventory.look();
    assert!(last.get().troubles.is_empty());
}

/// As when the account that asks has lost its rights.
#[test]
fn a_server_s_refusal_keeps_what_the_file_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pods.json");
    std::fs::write(&file, pod("one")).unwrap();
    let (mut inventory, _) = Inventory::open(vec![file.clone()]);
    let status = r#"{"kind":"Status","apiVersion":"v1","message":"no rights","code":403}"#;
    std::fs::write(&file, status).unwrap();
    let look = inventory.look();
    assert_eq!((look.objects, look.problems.len()), (1, 2));
    let last = inventory.last_look().get().troubles;
    assert!(
        last.iter().any(|told| told.contains("403: no rights")),
        "{last:?}"
    );
    assert!(inventory.reader().get().lookup("one", None).is_some());
}

#[test]
fn other_kinds_are_named_up_to_a_bound() {
    let kinds = |n: u32| Reloaded {
        ignored: (0..n).map(|n| (format!("v1/K{n:02}"), 2)).collect(),
        ..Reloaded::default()
    };
    assert_eq!(kinds(0).of_other_kinds(), "0");
    assert_eq!(kinds(2).of_other_kinds(), "4 (v1/K00, v1/K01)");
    assert!(kinds(16).of_other_kinds().ends_with("v1/K15)"));
    assert!(
        kinds(18)
            .of_other_kinds()
            .ends_with("v1/K15 and 2 kinds more)")
    );
}
