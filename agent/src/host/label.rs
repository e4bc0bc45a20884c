//! SELinux labels of the cgroup tree, and whether one of them is a container's.
//!
//! A pod that mounts cgroup2 with its own label gives it to the whole tree of the node (Bottlerocket
//! issue 4826): other pods then may not read their own limits. Pure: labels in, a finding out.

/// Types of files that belong to containers: Bottlerocket's, Fedora's and its predecessor's.
const OF_CONTAINERS: [&str; 3] = ["data_t", "container_file_t", "svirt_sandbox_file_t"];

/// What the tree bears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupLabels {
    /// Label of the root; `None` where files have none (no SELinux) or it cannot be read.
    pub root: Option<String>,
    /// Folder and label of those that bear a container's, of those that were looked at.
    pub of_containers: Vec<(String, String)>,
}

impl CgroupLabels {
    /// Judges the root's label and those of some folders below it, each with its path.
    pub fn judge(found: impl IntoIterator<Item = (String, Option<String>)>) -> Self {
        let mut labels = Self::default();
        for (path, label) in found {
            if path == "/" {
                labels.root.clone_from(&label);
            }
            if let Some(label) = label.filter(|label| is_of_container(label)) {
                labels.of_containers.push((path, label));
            }
        }
        labels
    }

    /// What is to be told of it, if anything is.
    pub fn finding(&self) -> Option<String> {
        let (path, label) = self.of_containers.first()?;
        Some(format!(
            "SELinux: the cgroup tree bears a container's label ({label} at {path}): a pod has mounted \
             cgroup2 with its own, and other pods may not read their limits any more"
        ))
    }
}

/// `user:role:type:level`, the level a sensitivity with categories or a range of two. What belongs to
/// the system has the lowest level without categories.
fn is_of_container(label: &str) -> bool {
    let mut parts = label.splitn(4, ':').skip(2);
    let (kind, level) = (parts.next(), parts.next());
    let low = level.and_then(|range| range.split('-').next());
    kind.is_some_and(|kind| OF_CONTAINERS.contains(&kind))
        || low.is_some_and(|level| level.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_type_or_categories_tell() {
        for (label, of_container) in [
            ("system_u:object_r:any_t:s0", false),
            ("system_u:object_r:cgroup_t:s0", false),
            ("system_u:object_r:cgroup_t:s0-s0:c0.c1023", false),
            ("system_u:object_r:data_t:s0:c240,c522", true),
            ("system_u:object_r:data_t:s0", true),
            ("system_u:object_r:any_t:s0:c240,c522", true),
            ("system_u:object_r:container_file_t:s0:c1,c2", true),
            ("", false),
            ("unlabeled", false),
        ] {
            assert_eq!(is_of_container(label), of_container, "{label}");
        }
    }

    #[test]
    fn the_first_of_those_that_were_looked_at_is_told() {
        let label = |text: &str| Some(text.to_owned());
        let none = CgroupLabels::judge([("/".to_owned(), None)]);
        assert_eq!((none.finding(), none.root), (None, None));
        let labels = CgroupLabels::judge([
            ("/".to_owned(), label("system_u:object_r:any_t:s0")),
            ("/init.scope".to_owned(), None),
            (
                "/kubepods.slice".to_owned(),
                label("system_u:object_r:data_t:s0:c240,c522"),
            ),
        ]);
        assert_eq!(labels.root.as_deref(), Some("system_u:object_r:any_t:s0"));
        assert_eq!(labels.of_containers.len(), 1);
        let told = labels.finding().unwrap();
        assert!(
            told.contains("(system_u:object_r:data_t:s0:c240,c522 at /kubepods.slice)"),
            "{told}"
        );
    }
}
