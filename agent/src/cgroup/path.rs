//! From a cgroup path to what it stands for.
//!
//! Kubelet names cgroups in one of two ways (kubernetes/pkg/kubelet/cm/cgroup_manager_linux.go),
//! below a root of the operator's choice:
//!
//! ```text
//!  systemd   [kubelet.slice/][kubelet-]kubepods.slice/[kubelet-]kubepods-burstable.slice/
//!            [kubelet-]kubepods-burstable-pod<uid, - as _>.slice/cri-containerd-<id>.scope
//!  cgroupfs  [kubelet/]kubepods/burstable/pod<uid>/<id>
//!  mixed     system.slice/containerd.service/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>
//! ```
//!
//! A guaranteed pod has no class in its path. `/proc/<pid>/cgroup` read from a private cgroup
//! namespace begins with `/../..` and misses the outer folders; the pod's own folder still says all.
//!
//! The *outermost* pod folder counts. A container that may make cgroups of its own (systemd or a
//! nested kubelet inside) can name them after another pod; everything below its own folder is its.
//!
//! It knows neither files nor the cluster: a path can be well-formed and name no pod that exists.

use plimsoll_wire::Identity;
use plimsoll_wire::identity::{Qos, Subject};

/// What a path stands for, and whether it is that thing's own folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What.
    pub subject: Subject,
    /// The path lies below the folder of its container or unit.
    pub nested: bool,
}

/// A pod UID is a UUID (36 characters) or, for a static pod, 32 hex digits; a manifest may set its
/// own. Longer is not a UID.
const MAX_UID_BYTES: usize = 64;
/// Container ids are 64 hex digits; shorter ones exist in tests and other runtimes.
const MAX_ID_BYTES: usize = 128;
/// A bare folder name is a container id only if it is at least this long and all hex.
const MIN_BARE_ID_BYTES: usize = 12;

/// The root cgroup, as systemd.slice(5) names it: what runs in no unit at all.
const ROOT: &str = "-.slice";

/// Prefix of a scope and the runtime that writes it.
const RUNTIMES: [(&str, &str); 4] = [
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("docker-", "docker"),
    ("containerd-", "containerd"),
];

/// The identity of cgroup `id` at `path`.
pub fn identity(id: u64, path: &str) -> Identity {
    Identity {
        cgroup_id: id,
        cgroup_path: Some(path.to_owned()),
        subject: place(path).subject,
    }
}

/// Reads a path. Total: a path that cannot be understood is [`Subject::Unknown`] (cut by a
/// namespace) or a [`Subject::Host`] folder.
pub fn place(path: &str) -> Place {
    // The kernel appends this to the path of a task whose cgroup was removed.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let cut = path.split('/').any(|segment| segment == "..");
    let segments = || {
        path.split('/')
            .filter(|segment| !matches!(*segment, "" | "." | ".."))
    };

    let mut parents: [&str; 2] = ["", ""];
    let mut rest = segments();
    while let Some(segment) = rest.next() {
        let found = systemd_pod(segment).or_else(|| cgroupfs_pod(segment, parents, cut));
        if let Some(pod) = found {
            return within_pod(pod, rest);
        }
        parents = [parents[1], segment];
    }
    if cut {
        return Place {
            subject: Subject::Unknown,
            nested: false,
        };
    }
    host(segments())
}

struct Pod<'a> {
    uid: String,
    qos: Qos,
    /// Only in the mixed form: what follows the slice after a colon.
    inline: Option<(&'a str, &'a str)>,
}

/// `[…-]kubepods[-burstable|-besteffort]-pod<uid>.slice[:runtime:id]`
fn systemd_pod(segment: &str) -> Option<Pod<'_>> {
    let (slice, inline) = match segment.split_once(':') {
        Some((slice, inline)) => (slice, Some(inline.split_once(':')?)),
        None => (segment, None),
    };
    let (prefix, pod) = slice.strip_suffix(".slice")?.rsplit_once('-')?;
    let uid = pod.strip_prefix("pod").filter(|uid| is_uid(uid))?;
    let mut names = prefix.rsplit('-');
    let (qos, above) = match names.next()? {
        "burstable" => (Qos::Burstable, names.next()),
        "besteffort" => (Qos::BestEffort, names.next()),
        other => (Qos::Guaranteed, Some(other)),
    };
    (above == Some("kubepods")).then(|| Pod {
        uid: uid.replace('_', "-"),
        qos,
        inline,
    })
}

/// `kubepods[/burstable|/besteffort]/pod<uid>`, with `parents` the two folders above, nearest last.
fn cgroupfs_pod<'a>(segment: &'a str, parents: [&str; 2], cut: bool) -> Option<Pod<'a>> {
    let uid = segment.strip_prefix("pod").filter(|uid| is_uid(uid))?;
    // In a path cut by a namespace the class may be the first folder that is left.
    let in_kubepods = parents[0] == "kubepods" || (cut && parents[0].is_empty());
    let qos = match parents[1] {
        "burstable" if in_kubepods => Qos::Burstable,
        "besteffort" if in_kubepods => Qos::BestEffort,
        "kubepods" => Qos::Guaranteed,
        _ => return None,
    };
    Some(Pod {
        uid: uid.to_owned(),
        qos,
        inline: None,
    })
}

fn within_pod<'a>(pod: Pod<'_>, mut below: impl Iterator<Item = &'a str>) -> Place {
    let Pod { uid, qos, inline } = pod;
    let named = match inline {
        Some((runtime, id)) => {
            let runtime = RUNTIMES
                .iter()
                .find(|(prefix, _)| prefix.strip_suffix('-') == Some(runtime));
            is_id(id).then_some((id, runtime.map(|(_, name)| *name)))
        }
        None => match below.next() {
            None => {
                return Place {
                    subject: Subject::Pod { pod_uid: uid, qos },
                    nested: false,
                };
            }
            Some(folder) => container(folder),
        },
    };
    match named {
        Some((id, runtime)) => Place {
            subject: Subject::Container {
                pod_uid: uid,
                container_id: id.to_owned(),
                runtime: runtime.map(str::to_owned),
                qos,
            },
            nested: below.next().is_some(),
        },
        // conmon of CRI-O, or a folder that the pod's owner made: the pod's, but no container.
        None => Place {
            subject: Subject::Pod { pod_uid: uid, qos },
            nested: true,
        },
    }
}

/// Container id and runtime of the folder directly below a pod's.
fn container(folder: &str) -> Option<(&str, Option<&'static str>)> {
    let stem = folder.strip_suffix(".scope").unwrap_or(folder);
    if stem.starts_with("crio-conmon-") {
        return None;
    }
    for (prefix, runtime) in RUNTIMES {
        if let Some(id) = stem.strip_prefix(prefix) {
            return is_id(id).then_some((id, Some(runtime)));
        }
    }
    let id = stem.rsplit_once('-').map_or(stem, |(_, id)| id);
    (id.len() >= MIN_BARE_ID_BYTES
        && id.len() <= MAX_ID_BYTES
        && id.bytes().all(|b| b.is_ascii_hexdigit()))
    .then_some((id, None))
}

fn is_uid(text: &str) -> bool {
    (1..=MAX_UID_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A host path up to and with its first unit; a path without a unit is taken whole.
fn host<'a>(segments: impl Iterator<Item = &'a str>) -> Place {
    let mut unit = String::new();
    let mut is_unit = false;
    let mut nested = false;
    for segment in segments {
        if is_unit {
            nested = true;
            break;
        }
        if !unit.is_empty() {
            unit.push('/');
        }
        unit.push_str(segment);
        is_unit = ends_with_unit(segment);
    }
    if unit.is_empty() {
        unit.push_str(ROOT);
    }
    Place {
        subject: Subject::Host { unit },
        nested,
    }
}

/// `foo.service`, `session-1.scope`, …: a thing that runs, where a slice only groups.
pub fn ends_with_unit(path: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|suffix| path.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0b6a1f0c-3f6e-4b56-9d5e-0a1b2c3d4e5f";
    const ID: &str = "4f1c0a1d5e7b4c1f8a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7081";

    /// `U`, `u` and `I` stand for the UID with underscores, with hyphens, and the container id.
    fn check(path: &str, want: &str) {
        let path = path
            .replace("{U}", &UID.replace('-', "_"))
            .replace("{u}", UID)
            .replace("{I}", ID);
        let Place { subject, nested } = place(&path);
        let found = match subject {
            Subject::Container {
                pod_uid,
                container_id,
                runtime,
                qos,
            } => {
                format!(
                    "{qos:?} {pod_uid} {container_id} {}",
                    runtime.as_deref().unwrap_or("-")
                )
            }
            Subject::Pod { pod_uid, qos } => format!("{qos:?} {pod_uid} pod"),
            Subject::Host { unit } => format!("host {unit}"),
            Subject::Unknown => "unknown".to_owned(),
        };
        let found =
            found.replace(UID, "{u}").replace(ID, "{I}") + if nested { " nested" } else { "" };
        assert_eq!(found, want, "{path}");
    }

    #[test]
    fn containers_by_the_systemd_driver() {
        let burstable = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U}.slice";
        check(
            &format!("{burstable}/cri-containerd-{{I}}.scope"),
            "Burstable {u} {I} containerd",
        );
        check(
            &format!("{burstable}/crio-{{I}}.scope"),
            "Burstable {u} {I} cri-o",
        );
        check(
            &format!("{burstable}/docker-{{I}}.scope"),
            "Burstable {u} {I} docker",
        );
        check(
            &format!("{burstable}/nerdctl-{{I}}.scope"),
            "Burstable {u} {I} -",
        );
        check(
            &format!("{burstable}/cri-containerd-{{I}}.scope (deleted)"),
            "Burstable {u} {I} containerd",
        );
        check(
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U}.slice/cri-containerd-{I}.scope",
            "BestEffort {u} {I} containerd",
        );
        check(
            "/kubepods.slice/kubepods-pod{U}.slice/cri-containerd-{I}.scope",
            "Guaranteed {u} {I} containerd",
        );
        check(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
             kubelet-kubepods-burstable-pod{U}.slice/cri-containerd-{I}.scope",
            "Burstable {u} {I} containerd",
        );
        check(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{U}.slice/cri-containerd-{I}.scope",
            "Guaranteed {u} {I} containerd",
        );
        check(
            "/system.slice/docker-aa11.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{U}.slice/cri-containerd-{I}.scope",
            "Guaranteed {u} {I} containerd",
        );
        check(
            "/system.slice/containerd.service/kubepods-burstable-pod{U}.slice:cri-containerd:{I}",
            "Burstable {u} {I} containerd",
        );
    }

    #[test]
    fn containers_by_the_cgroupfs_driver() {
        check("/kubepods/burstable/pod{u}/{I}", "Burstable {u} {I} -");
        check("/kubepods/besteffort/pod{u}/{I}", "BestEffort {u} {I} -");
        check("/kubepods/pod{u}/{I}", "Guaranteed {u} {I} -");
        check(
            "/kubelet/kubepods/burstable/pod{u}/{I}",
            "Burstable {u} {I} -",
        );
        check(
            "/kubepods/burstable/pod{u}/crio-{I}",
            "Burstable {u} {I} cri-o",
        );
    }

    #[test]
    fn static_pods_have_a_config_hash() {
        let hash = "d3c1a4b09b8a4c0f9f3d0d6d2d1b5c7e";
        check(
            &format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/cri-containerd-{{I}}.scope"
            ),
            &format!("Burstable {hash} {{I}} containerd"),
        );
        check(
            &format!("/kubepods/pod{hash}/{{I}}"),
            &format!("Guaranteed {hash} {{I}} -"),
        );
    }

    #[test]
    fn what_lies_in_a_container_is_the_containers() {
        let own = "/kubepods.slice/kubepods-pod{U}.slice/cri-containerd-{I}.scope";
        check(
            &format!("{own}/init.scope"),
            "Guaranteed {u} {I} containerd nested",
        );
        check(
            &format!("{own}/system.slice/nginx.service"),
            "Guaranteed {u} {I} containerd nested",
        );
        // crun makes one for a container's processes.
        check(
            "/kubepods.slice/kubepods-pod{U}.slice/crio-{I}.scope/container",
            "Guaranteed {u} {I} cri-o nested",
        );
        check(
            "/kubepods/burstable/pod{u}/{I}/docker/aabbccddeeff",
            "Burstable {u} {I} - nested",
        );
        // A container that names its own cgroups after somebody else stays who it is.
        check(
            &format!(
                "{own}/kubepods.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice/cri-containerd-ff.scope"
            ),
            "Guaranteed {u} {I} containerd nested",
        );
    }

    #[test]
    fn pods_without_a_container() {
        check(
            "/kubepods.slice/kubepods-pod{U}.slice",
            "Guaranteed {u} pod",
        );
        check("/kubepods/besteffort/pod{u}", "BestEffort {u} pod");
        check(
            "/kubepods.slice/kubepods-pod{U}.slice/crio-conmon-{I}.scope",
            "Guaranteed {u} pod nested",
        );
        check(
            "/kubepods/burstable/pod{u}/crio-conmon-{I}",
            "Burstable {u} pod nested",
        );
        check(
            "/../../kubepods-pod{U}.slice/crio-conmon-{I}.scope",
            "Guaranteed {u} pod nested",
        );
        check(
            "/kubepods.slice/kubepods-pod{U}.slice/other",
            "Guaranteed {u} pod nested",
        );
    }

    #[test]
    fn paths_cut_by_a_cgroup_namespace() {
        check(
            "/../../kubepods-burstable-pod{U}.slice/cri-containerd-{I}.scope",
            "Burstable {u} {I} containerd",
        );
        check(
            "/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{U}.slice/cri-containerd-{I}.scope",
            "BestEffort {u} {I} containerd",
        );
        check(
            "/../../../../kubepods/burstable/pod{u}/{I}",
            "Burstable {u} {I} -",
        );
        check("/../../../burstable/pod{u}/{I}", "Burstable {u} {I} -");
        check(
            "/../../../kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{U}.slice/cri-containerd-{I}.scope",
            "Burstable {u} {I} containerd",
        );
        check(
            "/../../kubepods-besteffort-podd3c1a4b09b8a4c0f9f3d0d6d2d1b5c7e.slice/crio-{I}.scope",
            "BestEffort d3c1a4b09b8a4c0f9f3d0d6d2d1b5c7e {I} cri-o",
        );
        // Which class, or which pod, cannot be known: said, not guessed.
        check("/../../pod{u}/{I}", "unknown");
        check("/../cri-containerd-{I}.scope", "unknown");
        check("/../../../system.slice/sshd.service", "unknown");
    }

    #[test]
    fn host_services() {
        check("/", "host -.slice");
        check("", "host -.slice");
        check(
            "/system.slice/sshd.service",
            "host system.slice/sshd.service",
        );
        check(
            "/runtime.slice/kubelet.service",
            "host runtime.slice/kubelet.service",
        );
        check("/kubelet.service", "host kubelet.service");
        check(
            "/system.slice/foo.service/worker",
            "host system.slice/foo.service nested",
        );
        check(
            "/user.slice/user-1000.slice/session-3.scope",
            "host user.slice/user-1000.slice/session-3.scope",
        );
        check(
            "/kubepods.slice/kubepods-burstable.slice",
            "host kubepods.slice/kubepods-burstable.slice",
        );
        check("/kubepods/burstable", "host kubepods/burstable");
        // Near misses.
        check(
            "/system.slice/podman.slice",
            "host system.slice/podman.slice",
        );
        check(
            "/burstable/pod{u}/{I}",
            &format!("host burstable/pod{UID}/{ID}")
                .replace(UID, "{u}")
                .replace(ID, "{I}"),
        );
        check(
            "/kubepods-evil-pod{U}.slice/x",
            &format!("host kubepods-evil-pod{}.slice/x", UID.replace('-', "_")),
        );
    }

    proptest! {
        #[test]
        fn any_text_is_placed(path in ".{0,200}") {
            place(&path);
        }

        #[test]
        fn any_arrangement_of_known_words_is_placed(words in prop::collection::vec(prop_oneof![
            Just("/"), Just(".."), Just("kubepods"), Just("-pod"), Just("pod"), Just(".slice"), Just(":"), Just("burstable"),
            Just("cri-containerd-"), Just(".scope"), Just("0b6a1f0c"), Just("_"), Just("é"),
        ], 0..20)) {
            place(&words.concat());
        }
    }
}
