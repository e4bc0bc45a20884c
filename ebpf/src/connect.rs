//! `cgroup/connect4` and `cgroup/connect6`, attached to the root of the v2 hierarchy.
//!
//! Prototype: `int (struct bpf_sock_addr *ctx)`, stable UAPI since 4.17. Runs in the context of
//! the task that calls `connect()` (also for io_uring and TCP Fast Open), before the kernel looks
//! at the address, so "current" is the caller: the one place where a socket can be tied to a
//! process. `connect6` sees v4-mapped addresses of AF_INET6 sockets; `connect4` does not.
//!
//! Returns 1 (proceed) always.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_addr,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_socket_cookie,
        },
    },
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use plimsoll_abi::{ANCESTORS, Connect, KIND_CONNECT};

use crate::{endpoint, maps::SECURITY, record};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An AF_INET socket connects.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context; its fields are read with their full width.
    let address = unsafe { (*ctx.sock_addr).user_ip4 };
    if endpoint::is_v4(address) {
        emit(&ctx, AF_INET, [address, 0, 0, 0]);
    }
    1
}

/// An AF_INET6 socket connects.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    let at: *mut bpf_sock_addr = ctx.sock_addr;
    // SAFETY: as above. Volatile, so that the four words are read one by one: the verifier takes
    // no wider load of this field before 5.x and no narrower one here.
    let address = unsafe {
        [
            (&raw const (*at).user_ip6[0]).read_volatile(),
            (&raw const (*at).user_ip6[1]).read_volatile(),
            (&raw const (*at).user_ip6[2]).read_volatile(),
            (&raw const (*at).user_ip6[3]).read_volatile(),
        ]
    };
    if endpoint::is_v6(address) {
        emit(&ctx, AF_INET6, address);
    }
    1
}

#[inline(always)]
fn emit(ctx: &SockAddrContext, family: u16, address: [u32; 4]) {
    record::count_emitted(KIND_CONNECT);
    // SAFETY: helpers without pointers, and one that takes the context it was given.
    let (cgroup_id, cookie) = unsafe {
        (
            bpf_get_current_cgroup_id(),
            bpf_get_socket_cookie(ctx.as_ptr()),
        )
    };
    let ids = bpf_get_current_pid_tgid();
    let owner = bpf_get_current_uid_gid();
    let mut ancestors = [0; ANCESTORS];
    for (index, slot) in ancestors.iter_mut().enumerate() {
        // SAFETY: a level beyond the cgroup's own gives 0.
        *slot = unsafe { bpf_get_current_ancestor_cgroup_id(index as i32 + 1) };
    }
    let mut daddr = [0; 16];
    for (index, word) in address.iter().enumerate() {
        daddr[index * 4..index * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }
    // SAFETY: context fields, read with their full width.
    let (port, protocol) = unsafe {
        (
            (&raw const (*ctx.sock_addr).user_port).read_volatile(),
            (&raw const (*ctx.sock_addr).protocol).read_volatile(),
        )
    };
    let connect = Connect {
        header: record::header(KIND_CONNECT, size_of::<Connect>(), cgroup_id),
        cookie,
        ancestors,
        tgid: (ids >> 32) as u32,
        tid: ids as u32,
        uid: owner as u32,
        gid: (owner >> 32) as u32,
        daddr,
        dport: u16::from_be(port as u16),
        family,
        protocol,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    // SAFETY: `connect` is on the stack and as long as its type, which has no padding.
    unsafe {
        record::output(
            &SECURITY,
            KIND_CONNECT,
            (&raw const connect).cast(),
            size_of::<Connect>(),
            0,
        )
    }
}
