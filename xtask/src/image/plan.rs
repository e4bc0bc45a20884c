//! What is in which image, and how it is started. `tests/tests/manifests/images.rs` includes this file and compares it
//! with the manifests; it knows nothing of how an image is written.

/// Root's, and what the collector runs as: the number that the makers of images without a user database agreed upon.
const ROOT: u32 = 0;
const NOBODY: u32 = 65532;
/// The limits of the compressed layers, in bytes: what a node pulls before it has an agent.
const AGENT_BYTES: u64 = 15_000_000;
const COLLECTOR_BYTES: u64 = 25_000_000;

/// An image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// What it is called, which is also its first program and the crate that this is built from.
    pub(crate) name: &'static str,
    /// Its folder below `target/image`.
    pub(crate) folder: &'static str,
    /// What it is for.
    pub(crate) description: &'static str,
    /// Its programs, each at `/NAME`.
    pub(crate) programs: &'static [&'static str],
    /// Arguments of the first, where the pod gives none: those that the pod gives.
    pub(crate) arguments: &'static [&'static str],
    /// User and group that it runs as. The agent's capabilities are given to UID 0 alone: without ambient ones, another
    /// user would lose them at the start of the program.
    pub(crate) user: u32,
    /// TCP ports that it listens on.
    pub(crate) ports: &'static [u16],
    /// The folder that it keeps its records in, which belongs to its user.
    pub(crate) data: &'static str,
    /// Compressed bytes at the most.
    pub(crate) limit_bytes: u64,
}

/// On every node.
pub(crate) const AGENT: Image = Image {
    name: "plimsoll-agent",
    folder: "agent",
    description: "The node agent: what every container really uses, and who reads IMDS",
    programs: &["plimsoll-agent"],
    arguments: &["--config", "/etc/plimsoll/agent.yaml", "--log-json"],
    user: ROOT,
    ports: &[9464],
    data: "/var/lib/plimsoll/agent",
    limit_bytes: AGENT_BYTES,
};

/// Once, with the command line beside it.
pub(crate) const COLLECTOR: Image = Image {
    name: "plimsoll-collector",
    folder: "collector",
    description: "The fleet collector and the plimsoll command line",
    programs: &["plimsoll-collector", "plimsoll"],
    arguments: &["--config", "/etc/plimsoll/collector.yaml", "--log-json"],
    user: NOBODY,
    ports: &[4317, 8443],
    data: "/var/lib/plimsoll/collector",
    limit_bytes: COLLECTOR_BYTES,
};

/// All of them.
pub(crate) const IMAGES: [&Image; 2] = [&AGENT, &COLLECTOR];
