//! Cgroups as the node shows them: which container a path names, and what its files say.
//!
//! ```text
//!  path   "/kubepods.slice/…/cri-containerd-<id>.scope" ──► wire::identity::Subject     pure
//!  parse  bytes of cpu.stat, memory.current, …          ──► numbers, or where it failed  pure
//!  label  security.selinux of the tree's first folders                                shell
//!  fs     kept descriptors, pread, a walk of the tree                                   shell
//! ```
//!
//! It knows neither windows nor rates, nor which containers are worth sampling.

pub mod fs;
pub mod label;
pub mod parse;
pub mod path;
