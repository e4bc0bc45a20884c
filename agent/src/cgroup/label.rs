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

/// Looks at a tree. What has no label, or does not show it, has none.
pub fn labels(root: &Path) -> CgroupLabels {
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

fn label(path: &Path) -> Option<String> {
    let mut bytes = [0_u8; LABEL_BYTES];
    let length = rustix::fs::getxattr(path, LABEL, &mut bytes[..]).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    // The kernel ends it with a zero.
    Some(text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    /// Where the file system takes the attribute, as tmpfs does from root.
    #[test]
    fn a_label_is_read_with_and_without() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("kubepods.slice");
        fs::create_dir(&slice).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        let given = b"system_u:object_r:data_t:s0:c240,c522\0";
        let has_selinux = label(root.path()).is_some();
        if !has_selinux {
            assert_eq!(labels(root.path()), CgroupLabels::default());
        }
        if has_selinux || setxattr(&slice, LABEL, given, XattrFlags::empty()).is_err() {
            return;
        }
        let found = labels(root.path());
        let label = "system_u:object_r:data_t:s0:c240,c522".to_owned();
        assert_eq!(found.of_containers, [("/kubepods.slice".to_owned(), label)]);
        assert_eq!(found.root, None);
    }
}
