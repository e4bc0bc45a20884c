//! The trail on disks that crash, fail and are damaged.
