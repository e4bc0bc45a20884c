//! What all that runs requests, and what it would request: the overview's sums.
//!
//! Pure. A pod requests the larger of two: what its largest init container needs beside the sidecars, and
//! what the sidecars and the others need together. That is the scheduler's arithmetic (KEP-753, "Pod
//! resource calculation") but for one thing: it counts beside an init container only those sidecars that
//! stand before it. Their order is not kept, so all of them count: right where sidecars come first, and
//! never too low.

use crate::inventory::Role;
use crate::sizing::{Recommendation, Report, Setting};

/// Of one resource, all pods that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    /// Requested, of what has a recommendation and of which it is known. What sets no request requests nothing.
    pub(super) now: u64,
    /// Recommended.
    pub(super) advised: u64,
    /// Containers that are in neither.
    pub(super) left_out: u64,
}

/// Of CPU in millicores, and of memory in bytes. What runs no more is in neither.
pub(super) fn totals(report: &Report) -> [Total; 2] {
    let containers = &report.recommendations;
    let workloads = containers.chunk_by(|a, b| {
        (&a.namespace, &a.kind, &a.workload) == (&b.namespace, &b.kind, &b.workload)
    });
    workloads.fold(
        [Total::default(); 2],
        |[mut cpu, mut memory], containers| {
            cpu.add(containers, |found| {
                let set = found.current.request_millicores;
                let known = found.current.knows(Setting::RequestMillicores);
                set.or(known.then_some(0)).zip(found.cpu.request_millicores)
            });
            memory.add(containers, |found| {
                let set = found.current.request_bytes;
                let known = found.current.knows(Setting::RequestBytes);
                set.or(known.then_some(0)).zip(found.memory.request_bytes)
            });
            [cpu, memory]
        },
    )
}

impl Total {
    /// Adds the containers of one workload; what each requests, and should.
    fn add(
        &mut self,
        containers: &[Recommendation],
        requests: impl Fn(&Recommendation) -> Option<(u64, u64)>,
    ) {
        let (mut now, mut advised) = (OfPods::default(), OfPods::default());
        for found in containers {
            // A debug container can request nothing.
            if found.running == 0 || found.role == Role::Ephemeral {
                continue;
            }
            match requests(found) {
                Some((set, should)) => {
                    now.add(found, set);
                    advised.add(found, should);
                }
                None => self.left_out += 1,
            }
        }
        self.now = self.now.saturating_add(now.sum());
        self.advised = self.advised.saturating_add(advised.sum());
    }
}

/// The request of one workload's pods.
#[derive(Default)]
struct OfPods {
    others: u64,
    sidecars: u64,
    highest_init: u64,
}

impl OfPods {
    fn add(&mut self, found: &Recommendation, each: u64) {
        let all = each.saturating_mul(found.running);
        match found.role {
            Role::Init => self.highest_init = self.highest_init.max(all),
            Role::Sidecar => self.sidecars = self.sidecars.saturating_add(all),
            Role::Main | Role::Ephemeral => self.others = self.others.saturating_add(all),
        }
    }

    fn sum(&self) -> u64 {
        self.sidecars
            .saturating_add(self.others.max(self.highest_init))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Fleet;
    use crate::sizing;

    /// Workload, role, pods that run, requested and recommended millicores.
    type Row = (&'static str, Role, u64, Option<u64>, Option<u64>);

    #[track_caller]
    fn check(rows: &[Row], expected: (u64, u64, u64)) {
        let mut report = sizing::report(&Fleet::default(), 0);
        let (_, series) = super::super::tests::series("shop", "x", "app", 5);
        let fleet = Fleet::group(vec![("x".to_owned(), series)], 0);
        let one = sizing::recommend(&fleet.containers[0]);
        for (workload, role, running, now, advised) in rows {
            let mut found = one.clone();
            (*workload).clone_into(&mut found.workload);
            (found.role, found.running) = (*role, *running);
            found.current.request_millicores = *now;
            found.cpu.request_millicores = *advised;
            report.recommendations.push(found);
        }
        let [cpu, _] = totals(&report);
        assert_eq!((cpu.now, cpu.advised, cpu.left_out), expected);
        // A request that is not known is not one of nothing.
        for found in &mut report.recommendations {
            if found.current.request_millicores.is_none() {
                found.current.unknown = vec![Setting::RequestMillicores];
            }
        }
        let unset = |row: &&Row| row.3.is_none() && row.4.is_some() && row.1 != Role::Ephemeral;
        let [unknown, _] = totals(&report);
        let more = rows.iter().filter(unset).count() as u64;
        assert_eq!(unknown.left_out, cpu.left_out + more);
    }

    #[test]
    fn a_pod_requests_the_larger_of_its_init_containers_and_the_others_beside_its_sidecars() {
        use Role::{Ephemeral, Init, Main, Sidecar};
        let (main, sidecar) = (
            ("a", Main, 3, Some(400), Some(200)),
            ("a", Sidecar, 3, Some(100), Some(50)),
        );
        check(&[main, sidecar], (1500, 750, 0));
        let small = ("a", Init, 3, Some(300), Some(40));
        check(&[main, small, sidecar], (1500, 750, 0));
        let (large, other) = (
            ("a", Init, 3, Some(2000), Some(900)),
            ("a", Init, 3, Some(1000), Some(10)),
        );
        check(&[large, main, other, sidecar], (6300, 2850, 0));
        // A mesh sidecar stands before what prepares the pod.
        let mesh = ("a", Sidecar, 1, Some(500), Some(500));
        let prepares = ("a", Init, 1, Some(2000), Some(2000));
        let serves = ("a", Main, 1, Some(100), Some(100));
        check(&[mesh, prepares, serves], (2500, 2500, 0));
        // Of another workload it is more.
        check(
            &[main, sidecar, ("b", Init, 1, Some(300), Some(40))],
            (1800, 790, 0),
        );
        check(&[main, ("a", Ephemeral, 1, None, Some(90))], (1200, 600, 0));
    }

    #[test]
    fn what_runs_no_more_is_in_no_sum_and_what_is_not_known_is_counted() {
        check(&[("a", Role::Main, 0, Some(400), Some(200))], (0, 0, 0));
        check(&[("a", Role::Main, 0, Some(400), None)], (0, 0, 0));
        check(&[("a", Role::Main, 2, Some(400), None)], (0, 0, 1));
        check(&[("a", Role::Main, 2, None, Some(200))], (0, 400, 0));
    }
}
