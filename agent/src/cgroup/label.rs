#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the security labels of the cgroup tree"
)]
//! The SELinux labels of the cgroup tree's root and of some folders below it.

use std::fs;
use std::path::Path;

use crate::host::label::CgroupLabels;

/// Folders below the root that are looked at: a node has some five (system, runtime and pod slices).
const FOLDERS: usize = 8;
/// Bytes of a label; longer ones are not read.
const LABEL_BYTES: usize = 256;
const LABEL: &str = "security.selinux";

/// Looks at a tree with [`label`], or another reader. What has no label, or does not show it, has none.
pub fn labels(root: &Path, label: impl Fn(&Path) -> Option<String>) -> CgroupLabels {
    let below = fs::read_dir(root).into_iter().flatten();
    let folders = below
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .take(FOLDERS)
        .map(|entry| {
            let path = format!("/{}", entry.file_name().to_string_lossy());
            (path, label(&entry.path()))
        });
    CgroupLabels::judge([("/".to_owned(), label(root))].into_iter().chain(folders))
}

/// The label of one folder.
pub fn label(path: &Path) -> Option<String> {
    let mut bytes = [0_u8; LABEL_BYTES];
    let length = rustix::fs::getxattr(path, LABEL, &mut bytes[..]).ok()?;
    text(bytes.get(..length)?)
}

/// The kernel ends it with a zero.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_POD: &[u8] = b"system_u:object_r:data_t:s0:c240,c522\0";

    #[test]
    fn the_root_and_the_folders_below_it_are_looked_at_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("kubepods.slice");
        fs::create_dir_all(slice.join("pod")).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        let of_system = "system_u:object_r:any_t:s0";
        let found = labels(root.path(), |path| match path {
            path if path == root.path() => Some(of_system.to_owned()),
            path if path == slice => text(OF_POD),
            _ => panic!("{path:?} is looked at"),
        });
        let label = "system_u:object_r:data_t:s0:c240,c522".to_owned();
        assert_eq!(found.of_containers, [("/kubepods.slice".to_owned(), label)]);
        assert_eq!(found.root.as_deref(), Some(of_system));
        assert_eq!(labels(root.path(), |_| None), CgroupLabels::default());
    }

    #[test]
    fn no_more_folders_are_looked_at_than_the_bound() {
        let root = tempfile::tempdir().unwrap();
        for folder in 0..2 * FOLDERS {
            fs::create_dir(root.path().join(folder.to_string())).unwrap();
        }
        let found = labels(root.path(), |_| text(OF_POD));
        assert_eq!(found.of_containers.len(), FOLDERS + 1);
    }

    #[test]
    fn what_is_not_there_has_no_label() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(label(&root.path().join("absent")), None);
        assert_eq!(text(b"\xff"), None);
    }
}
