//! Cgroups that are not there, or not any more: in a fixture and on this host.
#![expect(
    clippy::disallowed_methods,
    reason = "tests write files and make cgroups"
)]

use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn an_unknown_path_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    assert!(matches!(sampler.add(7, PATH), Err(FsError::Gone)));
    assert_eq!(sampler.len().0, 0);
}

/// Removed when dropped, also if the test fails.
struct RealCgroup(std::path::PathBuf);

impl Drop for RealCgroup {
    fn drop(&mut self) {
        // A cgroup without processes can always be removed.
        fs::remove_dir(&self.0).ok();
    }
}

/// A removed folder of ordinary files is noticed by whoever opens by name; an open descriptor of an
/// ordinary file goes on, which is why the kernel's own tree is tested below as well.
#[test]
fn a_removed_cgroup_is_noticed_in_a_fixture() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    let mut sampler = sampler(unified(root.path()), 0, Path::new("/nowhere"));
    sampler.add(7, PATH).unwrap();
    let listed = crate::cgroup::fs::scan(root.path()).unwrap();
    assert!(listed.found.iter().any(|found| found.path == PATH));
    assert_eq!(one(&mut sampler, S).inode, 7);
    fs::remove_dir_all(root.path().join("kubepods.slice")).unwrap();
    let round = sampler.sample_all(|| 2 * S, |_| None);
    assert_eq!((round.samples.len(), round.gone), (0, [7].as_slice()));
    assert_eq!(sampler.len(), (0, 0));
    assert!(sampler.take_problem().is_none(), "the end is no problem");
    assert!(matches!(sampler.add(7, PATH), Err(FsError::Gone)));
}

/// A controller that is switched off takes its files with it, and not the container.
#[test]
fn a_container_outlives_its_files() {
    for budget in [100, 0] {
        let root = tempfile::tempdir().unwrap();
        put_v2(root.path());
        let mut sampler = sampler(unified(root.path()), budget, Path::new("/nowhere"));
        sampler.add(7, PATH).unwrap();
        let before = one(&mut sampler, S);
        let folder = root.path().join(PATH.trim_start_matches('/'));
        for name in ["memory.peak", "memory.max", "io.stat"] {
            fs::remove_file(folder.join(name)).unwrap();
        }
        // What is open of ordinary files goes on; what is opened for each read is missing.
        let after = one(&mut sampler, 10 * S);
        assert_eq!(after.cpu, before.cpu);
        let memory = after.memory.unwrap();
        assert_eq!((memory.peak_bytes, memory.stat.is_some()), (None, true));
        assert_eq!(after.io, None);
        let open = sampler.len().1;
        let again = sampler.add(8, PATH).unwrap();
        assert!(again);
        assert_eq!(sampler.len().1, 2 * open, "as many as it would open now");
        // Another's folder at the same place is no sign of life.
        let away = folder.with_file_name("away");
        fs::rename(&folder, &away).unwrap();
        put_v2(root.path());
        fs::remove_dir_all(&away).unwrap();
        sampler.remove(8);
        fs::remove_file(folder.join("pids.current")).unwrap();
        if budget == 0 {
            let round = sampler.sample_all(|| 20 * S, |_| None);
            assert_eq!((round.samples.len(), round.gone), (0, [7].as_slice()));
        }
    }
}

/// What the host's facts say of making cgroups: where its version 2 tree is, if it may be written.
fn writable_root() -> Option<std::path::PathBuf> {
    let root = crate::host::read::facts("/sys/fs/cgroup".as_ref())
        .cgroup
        .v2?;
    let access = rustix::fs::access(&root, rustix::fs::Access::WRITE_OK);
    access.is_ok().then_some(root)
}

/// The kernel's own files, where the facts say that cgroups can be made; there it must be so, and
/// elsewhere it must not. What a sample holds depends on the controllers, but use of CPU is always
/// there, and a removed cgroup is always noticed.
#[test]
fn this_hosts_own_cgroup_is_sampled_until_it_is_removed() {
    let name = format!("plimsoll-test-sampler-{}", std::process::id());
    let roots = Roots::find(Path::new("/sys/fs/cgroup"));
    let Some(root) = writable_root() else {
        let root = roots.unified.unwrap_or_else(|| "/sys/fs/cgroup".into());
        let refused = fs::create_dir(root.join(&name));
        assert!(refused.is_err(), "the facts say that it cannot be made");
        return;
    };
    let roots = Roots {
        unified: Some(root.clone()),
        ..roots
    };
    let made = RealCgroup(root.join(&name));
    fs::create_dir(&made.0).unwrap();
    let id = fs::metadata(&made.0).unwrap().ino();
    let listed = crate::cgroup::fs::scan(&root).unwrap();
    assert!(
        listed
            .found
            .iter()
            .any(|found| found.id == id && found.path == format!("/{name}"))
    );
    for budget in [100, 0] {
        let mut sampler = sampler(roots.clone(), budget, Path::new("/proc"));
        sampler.add_young(id, &format!("/{name}"), S).unwrap();
        sampler.look_at_young(S, |_, bytes| {
            panic!("nobody is in it, and it has {bytes} bytes")
        });
        let round = sampler.sample_all(clock::monotonic_ns, |_| None);
        let sample = round.samples[0];
        assert_eq!(
            (sample.inode, sample.cpu.unwrap().source),
            (id, Source::CgroupV2)
        );
        assert_eq!(sample.cpu.unwrap().stat.usage_ns, Some(0));
        // A controller counts an empty folder; processes that are not there count nothing.
        let by = sample.memory.map(|memory| memory.source);
        assert_ne!(by, Some(Source::Procfs));
        assert!(sampler.take_problem().is_none());
        // The kernel hides the files of pressure, which an open descriptor says like a removal.
        let off = fs::write(made.0.join("cgroup.pressure"), "0\n").is_ok();
        let round = sampler.sample_all(clock::monotonic_ns, |_| None);
        assert_eq!((round.samples.len(), round.gone), (1, [].as_slice()));
        let told = round.samples[0].cpu_pressure.is_some();
        assert!(!(off && told), "pressure that is switched off");
        fs::remove_dir(&made.0).unwrap();
        sampler.look_at_young(S, |_, _| panic!("it is gone"));
        let round = sampler.sample_all(clock::monotonic_ns, |_| None);
        assert_eq!((round.samples.len(), round.gone), (0, [id].as_slice()));
        assert_eq!(sampler.len(), (0, 0));
        fs::create_dir(&made.0).unwrap();
    }
}
