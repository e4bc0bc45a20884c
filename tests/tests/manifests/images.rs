//! The pods start the images as these say that they are started: program, arguments, user, ports, folder of records.
//! What is in which image is said once, in `xtask/src/image/plan.rs`.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::PodSpec;

use super::objects::Objects;
use super::plan::{AGENT, COLLECTOR, IMAGES, Image};
use super::{AGENTS, COLLECTOR as COLLECTORS, root};

fn agent(objects: &Objects) -> PodSpec {
    let set: DaemonSet = objects.one("DaemonSet", AGENTS, AGENT.name);
    set.spec.unwrap().template.spec.unwrap()
}

fn collector(objects: &Objects) -> PodSpec {
    let set: StatefulSet = objects.one("StatefulSet", COLLECTORS, COLLECTOR.name);
    set.spec.unwrap().template.spec.unwrap()
}

/// `registry/NAME@sha256:…` or `NAME:tag`.
fn name(reference: &str) -> &str {
    let last = reference.rsplit('/').next().unwrap();
    last.split(['@', ':']).next().unwrap()
}

#[track_caller]
fn check(image: &Image, pod: &PodSpec) {
    let container = &pod.containers[0];
    assert_eq!(name(container.image.as_ref().unwrap()), image.name);
    assert_eq!(
        image.programs[0], image.name,
        "the first is the entry point"
    );
    assert_eq!(container.command, None, "the image's entry point");
    assert_eq!(container.args.as_ref().unwrap(), image.arguments);
    let of_pod = pod.security_context.as_ref().unwrap();
    let user = Some(i64::from(image.user));
    assert_eq!((of_pod.run_as_user, of_pod.run_as_group), (user, user));
    let ports = container.ports.iter().flatten();
    let ports: BTreeSet<i32> = ports.map(|port| port.container_port).collect();
    let own: BTreeSet<i32> = image.ports.iter().copied().map(i32::from).collect();
    assert_eq!(ports, own);
    let mounts = container.volume_mounts.as_ref().unwrap();
    let mounted = |path: &str| mounts.iter().any(|mount| mount.mount_path == path);
    assert!(mounted(image.data), "nothing at {}", image.data);
    let config = image
        .arguments
        .iter()
        .find(|argument| argument.starts_with('/'));
    assert!(mounted(config.unwrap()), "no configuration at {config:?}");
}

#[test]
fn the_pods_start_the_images_as_they_are_made() {
    for objects in Objects::each() {
        check(&AGENT, &agent(&objects));
        check(&COLLECTOR, &collector(&objects));
    }
}

/// What the documents tell people to run in a pod is where the image has it.
#[test]
fn programs_that_the_documents_name_are_in_the_images() {
    let programs: BTreeSet<String> = IMAGES
        .iter()
        .flat_map(|image| image.programs)
        .map(|program| format!("/{program}"))
        .collect();
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let commands = text.lines().filter(|line| line.contains(" exec "));
    let run = commands.filter_map(|line| line.split_once(" -- ")?.1.split(' ').next());
    let run: BTreeSet<&str> = run.collect();
    assert!(!run.is_empty());
    for program in run {
        assert!(programs.contains(program), "{program} is in no image");
    }
    for image in IMAGES {
        assert!(
            text.contains(&format!("target/image/{}", image.folder)),
            "{}",
            image.name
        );
        let limit = format!("{} MB", image.limit_bytes / 1_000_000);
        assert!(text.contains(&limit), "{}: {limit}", image.name);
        assert!(!image.description.is_empty());
    }
}
