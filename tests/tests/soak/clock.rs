//! A wall clock of a process's own, which can be set while it runs: `libfaketime`, which others wrote.
//!
//! `.ci/run` unpacks it into `target/faketime`:
//!
//! ```sh
//! mkdir -p target/faketime/packages && cd target/faketime/packages
//! apt-get download libfaketime && dpkg -x libfaketime_*.deb ..
//! ```

use std::path::{Path, PathBuf};

/// The clocks of the processes that get its environment.
pub(crate) struct Clock {
    /// It says how far they are off.
    file: PathBuf,
    library: Option<PathBuf>,
}

impl Clock {
    /// It goes right until it is set.
    pub(crate) fn new(file: PathBuf) -> Self {
        let clock = Self {
            file,
            library: library(),
        };
        clock.set(0);
        clock
    }

    pub(crate) fn can_be_set(&self) -> bool {
        self.library.is_some()
    }

    /// So many seconds beside the right time, within a second from now.
    pub(crate) fn set(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    /// What a process is started with.
    pub(crate) fn environment(&self) -> Vec<(String, PathBuf)> {
        let Some(library) = &self.library else {
            return Vec::new();
        };
        let of = |name: &str, value: &Path| (name.to_owned(), value.to_owned());
        vec![
            of("LD_PRELOAD", library),
            of("FAKETIME_TIMESTAMP_FILE", &self.file),
            // Seconds for which what the file says is kept.
            of("FAKETIME_CACHE_DURATION", Path::new("1")),
            // What measures how long something takes is not set on any machine.
            of("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
            of("NO_FAKE_STAT", Path::new("1")),
        ]
    }
}

fn library() -> Option<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent()?.join("target/faketime/usr/lib");
    let mut folders = std::fs::read_dir(root).ok()?.flatten();
    let path = folders.find_map(|of| {
        let path = of.path().join("faketime/libfaketimeMT.so.1");
        path.is_file().then_some(path)
    })?;
    path.canonicalize().ok()
}
