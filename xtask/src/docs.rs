//! `cargo xtask docs`: writes the documents that are generated from the sources, and the types of OCSF.
//!
//! Each is compared with its source by an ordinary test; the same test writes it when told to.

use anyhow::Result;

use crate::shell;

pub(crate) fn run() -> Result<()> {
    let mut cargo = shell::cargo(&[
        "test",
        "--locked",
        "--package",
        "plimsoll-tests",
        "--test",
        "docs",
        "--test",
        "ocsf",
        "--quiet",
    ]);
    shell::run(cargo.env("PLIMSOLL_WRITE_DOCS", "1"))
}
