//! What is done each interval, and the walk of the cgroup tree: kernel time, files, who came and went
//! without an event.

use std::collections::HashSet;
use std::path::Path;

use plimsoll_journal::Trouble;

use super::Node;
use crate::causes;
use crate::cgroup::{fs, label};
use crate::probe::ProgramName;
use crate::usage::Sample;
use crate::usage::clock::{monotonic_ns, wall_unix_ns};

impl Node {
    /// One round over all containers, and what the kernel booked since the last.
    pub(super) fn sample(&mut self) {
        let before = self.count_rings();
        let emptied = self.drain();
        let after = self.count_rings();
        if let (Some(before), Some(after)) = (before, after) {
            self.check_rings(&before, emptied, &after);
        }
        let begun = monotonic_ns();
        self.timeline.remeasure(begun, wall_unix_ns());
        self.take_kernel_time();
        let kernel_time = &self.kernel_time;
        let round = self
            .sampler
            .sample_all(monotonic_ns, |id| kernel_time.used_ns(id));
        self.has_read = round.samples.iter().any(Sample::was_read);
        for sample in round.samples {
            self.containers
                .sample(sample, &self.timeline, &mut self.out);
        }
        let gone = round.gone.to_vec();
        if !gone.is_empty() {
            // How they ended may be in the rings by now.
            self.drain();
        }
        for id in gone {
            self.removed(id, monotonic_ns());
        }
        if let Some(problem) = self.sampler.take_problem() {
            tracing::debug!(problem = %causes::chain(&problem), "part of a sample is missing");
        }
        self.tell_losses();
        self.sample_seconds = (monotonic_ns() - begun) as f64 / 1e9;
        self.show();
    }

    /// What the scheduler hook booked since the last round.
    fn take_kernel_time(&mut self) {
        if !self.attached(ProgramName::SchedSwitch) {
            return;
        }
        let Some(probe) = &mut self.probe else {
            return;
        };
        let snapshot = match probe.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                if is_news(&mut self.no_kernel_time) {
                    tracing::warn!(%error, "no CPU time from the kernel");
                }
                return;
            }
        };
        is_over(&mut self.no_kernel_time);
        let mut periods = Vec::new();
        self.kernel_time.take(
            &snapshot,
            |id| self.containers.owner(id),
            self.containers.followed().map(|(id, _)| id),
            |id, used_ns, times| periods.push((id, used_ns, times)),
        );
        for (id, used_ns, times) in periods {
            self.containers.periods(id, used_ns, times);
        }
        let index = self.containers.index();
        let is_known = |id| index.get(id).is_some();
        self.kernel_time.note_strangers(&snapshot, is_known);
    }

    /// Has the kernel forget the CPU time of cgroups that nobody knew before a whole walk and that the
    /// walk did not find.
    fn forget_strangers(&mut self, found: &HashSet<u64>) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        for id in self.kernel_time.walked(found) {
            if let Err(error) = probe.forget_cgroup(id) {
                tracing::debug!(id, %error, "kernel keeps the CPU time of a cgroup that nobody knows");
            }
        }
    }

    /// Walks the tree for what events missed.
    pub(super) fn rescan(&mut self) {
        // Who is not found has ended, and how may be in the rings.
        self.drain();
        let Some(root) = self.roots.naming().map(Path::to_path_buf) else {
            return;
        };
        self.look_at_labels(&root);
        let now = monotonic_ns();
        let walked = fs::scan(&root);
        self.has_walked = walked.as_ref().is_ok_and(fs::Scan::is_whole);
        match walked {
            Ok(scan) => {
                self.unwalked = [scan.left_out, scan.unlisted];
                if scan.is_whole() {
                    let found: HashSet<u64> = scan.found.iter().map(|found| found.id).collect();
                    for id in self.containers.missing(&found) {
                        self.removed(id, now);
                    }
                    self.forget_strangers(&found);
                    is_over(&mut self.no_walk);
                } else if is_news(&mut self.no_walk) {
                    tracing::warn!(
                        unlisted = scan.unlisted,
                        left_out = scan.left_out,
                        "the walk of the cgroup tree is not whole: nobody is taken for gone"
                    );
                }
                for cgroup in scan.found {
                    self.learn(cgroup.id, &cgroup.path, now, false);
                }
                self.take_up();
            }
            Err(error) => {
                if is_news(&mut self.no_walk) {
                    tracing::warn!(error = %causes::chain(&error), "could not walk the cgroup tree");
                }
            }
        }
    }

    /// Told as it begins and when it is over; `/readyz` shows it meanwhile.
    fn look_at_labels(&mut self, root: &Path) {
        let labels = label::labels(root, label::label);
        match (self.labels.finding(), labels.finding()) {
            (None, Some(finding)) => {
                tracing::warn!(finding, "the node's cgroup tree is relabelled");
            }
            (Some(_), None) => {
                tracing::info!("the node's cgroup tree has the system's labels again");
            }
            _ => {}
        }
        self.labels = labels;
    }

    /// Takes up who the walk found, and who was left out for want of room or of descriptors.
    fn take_up(&mut self) {
        self.containers.promote();
        self.unopened = 0;
        for (id, path) in self.containers.followed() {
            if self.sampler.has(id) {
                continue;
            }
            match self.sampler.add(id, path) {
                // Its end is told by the next walk, if no event does.
                Ok(_) | Err(fs::FsError::Gone) => {}
                Err(error) => {
                    self.unopened += 1;
                    if is_news(&mut self.no_files) {
                        tracing::warn!(id, path, error = %causes::chain(&error), "a cgroup cannot be sampled; the next walk tries again");
                    }
                }
            }
        }
        if self.unopened == 0 {
            is_over(&mut self.no_files);
        }
    }
}

/// Whether a refusal is to be told: as it begins, and once a minute while it lasts.
fn is_news(trouble: &mut Trouble) -> bool {
    trouble.failed(monotonic_ns(), || 0)
}

fn is_over(trouble: &mut Trouble) {
    // The books show what it came to.
    let _over = trouble.ended(monotonic_ns(), || 0);
}
