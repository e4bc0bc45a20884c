//! Moto, where it is there, and while it runs.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where `.ci/run` installs it.
pub(crate) fn program() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().join("target/moto/bin/moto_server")
}

/// A server of ours; it ends with this.
pub(crate) struct Moto {
    child: Child,
    /// Where it is.
    pub(crate) endpoint: String,
}

impl Moto {
    /// On a port of its own choice, which it tells.
    pub(crate) fn start(program: &PathBuf) -> Self {
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let running = said.by_ref().map_while(Result::ok);
        let mut before = Vec::new();
        let mut address = None;
        for line in running {
            if let Some((_, told)) = line.split_once("Running on ") {
                address = Some(told.trim().to_owned());
                break;
            }
            before.push(line);
        }
        // What it says of each request is read, so that it can say it.
        std::thread::spawn(move || said.for_each(drop));
        let Some(endpoint) = address else {
            drop(child.kill());
            panic!("moto did not start: {}", before.join("\n"));
        };
        Self { child, endpoint }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
