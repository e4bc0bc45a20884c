//! The kernel programs of the node agent.
//!
//! ```text
//!  hook                          file         ring      what it sees
//!  cgroup/connect4, connect6     connect.rs   security  a task opens a connection to IMDS
//!  cgroup_skb/egress, ingress    packet.rs    security  the packets of those connections
//!  oom/mark_victim               oom.rs       security  the OOM killer chose somebody
//!  cgroup/cgroup_mkdir, _rmdir   cgroup.rs    process   containers come and go
//!  raw sched_switch              switch.rs    (maps)    CPU time per cgroup and 100 ms period
//! ```
//!
//! A program decides nothing about policy: it copies what it saw, says whose it was, and counts
//! what the ring refused. Every cgroup program lets the packet or call pass, always. Kernel
//! layouts come as read-only globals from the loader (`settings.rs`); nothing here is compiled
//! against one kernel's headers.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod cgroup;
mod connect;
mod endpoint;
mod maps;
mod oom;
mod packet;
mod record;
mod settings;
mod switch;

/// The kernel lends GPL-only functions (`bpf_probe_read_kernel`) to programs that say they are
/// under the GPL as well; see the licence field of the manifest.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier refuses a program that could get here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
