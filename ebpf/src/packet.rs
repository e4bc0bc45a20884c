//! `cgroup_skb/egress` and `cgroup_skb/ingress`, attached to the root of the v2 hierarchy.
//!
//! Prototype: `int (struct __sk_buff *ctx)`, stable UAPI since 4.10; `bpf_skb_cgroup_id` for this
//! program type since 5.10. Runs for each packet that a full socket of the machine sends (after
//! netfilter's output hooks, before segmentation) or receives, in whatever network namespace, once.
//! "Current" is anybody here: who it is comes from the socket's cgroup and cookie. The packet
//! starts at the IP header.
//!
//! Payload lies in page fragments, so it is copied with `bpf_skb_load_bytes`; direct access would
//! see the headers only. Returns 1 (pass) always.

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::generated::{
        bpf_get_socket_cookie, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id, bpf_skb_load_bytes,
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use plimsoll_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, KIND_SEGMENT, SEGMENT_CAPTURE_BYTES, SEGMENT_FRAGMENT,
    SEGMENT_NO_TRANSPORT, Segment,
};

use crate::{endpoint, maps::SECURITY, record};

const PROTOCOL_IPV4: u32 = 0x0800_u16.to_be() as u32;
const PROTOCOL_IPV6: u32 = 0x86dd_u16.to_be() as u32;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
/// Extension headers of IPv6 that are walked at most; RFC 8200 knows five that may repeat rarely.
const EXTENSION_HEADERS: usize = 8;
/// Records that one packet towards an endpoint is split into at most: 64 KiB, which is all that a
/// packet holds before segmentation (but for BIG TCP over IPv6), so that no request hides behind
/// others, a long body or blank lines in one write.
const CHUNKS_OUT: u32 = 64;
/// The same for packets from an endpoint: an answer's head and what is read of its body come first.
const CHUNKS_IN: u32 = 8;
const CAPTURE: u32 = SEGMENT_CAPTURE_BYTES as u32;

/// A socket sends.
#[cgroup_skb(egress)]
pub fn packet_egress(ctx: SkBuffContext) -> i32 {
    if matches(&ctx, 16, 24) {
        emit(ctx.skb.skb, DIRECTION_EGRESS);
    }
    1
}

/// A socket receives.
#[cgroup_skb(ingress)]
pub fn packet_ingress(ctx: SkBuffContext) -> i32 {
    if matches(&ctx, 12, 8) {
        emit(ctx.skb.skb, DIRECTION_INGRESS);
    }
    1
}

/// The miss path, which every packet of the machine takes: load the peer's address, compare.
#[inline(always)]
fn matches(ctx: &SkBuffContext, v4_at: usize, v6_at: usize) -> bool {
    // SAFETY: the kernel passes a valid context.
    let protocol = unsafe { (*ctx.skb.skb).protocol };
    if protocol == PROTOCOL_IPV4 {
        ctx.load::<u32>(v4_at).is_ok_and(endpoint::is_v4)
    } else if protocol == PROTOCOL_IPV6 {
        ctx.load::<[u32; 4]>(v6_at).is_ok_and(endpoint::is_v6)
    } else {
        false
    }
}

/// Where the headers of a packet end and what they say.
struct Shape {
    /// Where the transport header starts, then where the payload starts.
    at: u32,
    protocol: u8,
    hop_limit: u8,
    flags: u16,
    /// There is a transport header at `at`.
    transport: bool,
}

/// The hit path. A function of its own, so that the miss path stays a handful of instructions.
#[inline(never)]
fn emit(skb: *mut __sk_buff, direction: u8) -> i32 {
    let ctx = SkBuffContext::new(skb);
    let Some(scratch) = record::claim() else {
        // Nobody has looked into it: a bare acknowledgement, of which nothing would be told, counts
        // as well. Rather one too many than one too few.
        record::count_emitted(KIND_SEGMENT);
        record::count_lost(KIND_SEGMENT);
        return 0;
    };
    // SAFETY: the scratch is ours, aligned to 8 and longer than a segment and its capture.
    let bytes: *mut u8 = unsafe { (&raw mut (*scratch).bytes).cast() };
    // SAFETY: as above, and all zeros is a segment.
    let segment = unsafe {
        let at = bytes.cast::<Segment>();
        at.write(core::mem::zeroed());
        &mut *at
    };
    segment.direction = direction;
    if let Some(payload_at) = describe(&ctx, segment) {
        output(&ctx, segment, bytes, payload_at);
    }
    record::release(scratch);
    0
}

/// Fills in what the headers say; where the payload starts, or `None` if there is nothing to tell.
#[inline(always)]
fn describe(ctx: &SkBuffContext, segment: &mut Segment) -> Option<u32> {
    let len = ctx.len();
    // SAFETY: the kernel passes a valid context.
    let v4 = unsafe { (*ctx.skb.skb).protocol } == PROTOCOL_IPV4;
    let shape = if v4 {
        ipv4(ctx, segment)
    } else {
        ipv6(ctx, segment)
    };
    segment.ip_version = if v4 { 4 } else { 6 };
    segment.protocol = shape.protocol;
    segment.hop_limit = shape.hop_limit;
    segment.flags = shape.flags;
    let mut payload_at = shape.at;
    if shape.transport {
        match transport(ctx, segment, shape.at) {
            Some(at) => payload_at = at,
            None => segment.flags |= SEGMENT_NO_TRANSPORT,
        }
    }
    segment.payload_len = len.saturating_sub(payload_at);
    // A bare acknowledgement says nothing that the next segment does not.
    let bare = segment.protocol == TCP
        && segment.flags == 0
        && segment.payload_len == 0
        && segment.tcp_flags & (SYN | FIN | RST) == 0;
    if bare { None } else { Some(payload_at) }
}

#[inline(always)]
fn ipv4(ctx: &SkBuffContext, segment: &mut Segment) -> Shape {
    let head = ctx.load::<[u8; 20]>(0).unwrap_or([0; 20]);
    segment.saddr[..4].copy_from_slice(&head[12..16]);
    segment.daddr[..4].copy_from_slice(&head[16..20]);
    let fragment = u16::from_be_bytes([head[6], head[7]]);
    // More fragments, or not the first one.
    let flags = if fragment & 0x3fff != 0 {
        SEGMENT_FRAGMENT
    } else {
        0
    };
    let first = fragment & 0x1fff == 0;
    Shape {
        at: u32::from(head[0] & 0x0f) * 4,
        protocol: head[9],
        hop_limit: head[8],
        flags: if first {
            flags
        } else {
            flags | SEGMENT_NO_TRANSPORT
        },
        transport: first,
    }
}

#[inline(always)]
fn ipv6(ctx: &SkBuffContext, segment: &mut Segment) -> Shape {
    let head = ctx.load::<[u8; 40]>(0).unwrap_or([0; 40]);
    segment.saddr.copy_from_slice(&head[8..24]);
    segment.daddr.copy_from_slice(&head[24..40]);
    let mut shape = Shape {
        at: 40,
        protocol: head[6],
        hop_limit: head[7],
        flags: 0,
        transport: true,
    };
    for _ in 0..EXTENSION_HEADERS {
        // Hop-by-hop, routing, fragment, authentication, destination options (RFC 8200, RFC 4302).
        if !matches!(shape.protocol, 0 | 43 | 44 | 51 | 60) {
            return shape;
        }
        let Ok(extension) = ctx.load::<[u8; 4]>(shape.at as usize) else {
            break;
        };
        let units = u32::from(extension[1]);
        match shape.protocol {
            44 => {
                shape.flags |= SEGMENT_FRAGMENT;
                shape.at += 8;
                if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0 {
                    shape.protocol = extension[0];
                    break;
                }
            }
            51 => shape.at += (units + 2) * 4,
            _ => shape.at += (units + 1) * 8,
        }
        shape.protocol = extension[0];
    }
    shape.flags |= SEGMENT_NO_TRANSPORT;
    shape.transport = false;
    shape
}

/// Reads the transport header at `at`; where the payload starts.
#[inline(always)]
fn transport(ctx: &SkBuffContext, segment: &mut Segment, at: u32) -> Option<u32> {
    match segment.protocol {
        TCP => {
            let head = ctx.load::<[u8; 16]>(at as usize).ok()?;
            segment.sport = u16::from_be_bytes([head[0], head[1]]);
            segment.dport = u16::from_be_bytes([head[2], head[3]]);
            segment.seq = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            segment.ack = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
            segment.tcp_flags = head[13];
            Some(at + u32::from(head[12] >> 4) * 4)
        }
        UDP => {
            let head = ctx.load::<[u8; 8]>(at as usize).ok()?;
            segment.sport = u16::from_be_bytes([head[0], head[1]]);
            segment.dport = u16::from_be_bytes([head[2], head[3]]);
            Some(at + 8)
        }
        _ => None,
    }
}

/// Emits the payload in pieces, each a segment that stands for itself: its own sequence number,
/// and on all but the last one no FIN, RST or PSH. What does not fit into the last piece is visible
/// as `payload_len > captured_len`.
#[inline(always)]
fn output(ctx: &SkBuffContext, segment: &mut Segment, bytes: *mut u8, payload_at: u32) {
    let skb = ctx.skb.skb;
    // SAFETY: helpers that take the context they were given.
    let cgroup_id = unsafe {
        segment.cookie = bpf_get_socket_cookie(ctx.as_ptr());
        for (index, slot) in segment.ancestors.iter_mut().enumerate() {
            // A level beyond the cgroup's own gives 0.
            *slot = bpf_skb_ancestor_cgroup_id(skb, index as i32 + 1);
        }
        bpf_skb_cgroup_id(skb)
    };
    let mut tcp_flags = segment.tcp_flags;
    let mut rest = segment.payload_len;
    let mut at = payload_at;
    let most = if segment.direction == DIRECTION_EGRESS {
        CHUNKS_OUT
    } else {
        CHUNKS_IN
    };
    for chunk in 0..CHUNKS_OUT {
        let last = rest <= CAPTURE || chunk + 1 >= most;
        let captured = if rest > CAPTURE { CAPTURE } else { rest };
        segment.tcp_flags = if last {
            tcp_flags
        } else {
            tcp_flags & !(FIN | RST | PSH)
        };
        segment.payload_len = if last { rest } else { captured };
        segment.captured_len = captured;
        send(ctx, segment, bytes, at, captured, cgroup_id);
        if last {
            break;
        }
        // A SYN takes a sequence number of its own, before the payload.
        let syn = u32::from(tcp_flags & SYN != 0);
        segment.seq = segment.seq.wrapping_add(captured + syn);
        tcp_flags &= !SYN;
        at += captured;
        rest -= captured;
    }
}

/// Emits one piece.
#[inline(always)]
fn send(
    ctx: &SkBuffContext,
    segment: &mut Segment,
    bytes: *mut u8,
    at: u32,
    captured: u32,
    cgroup_id: u64,
) {
    record::count_emitted(KIND_SEGMENT);
    let mut len = size_of::<Segment>();
    if captured > 0 {
        // One less than it is, because the helper takes no length of 0 and the verifier of 6.1 does
        // not learn from `captured != 0`, which is what the compiler makes of the line above.
        let less = record::opaque(u64::from(captured - 1));
        if less >= u64::from(CAPTURE) {
            return record::count_lost(KIND_SEGMENT);
        }
        // SAFETY: the scratch has room for a whole capture behind the segment.
        let result = unsafe {
            let tail = bytes.add(size_of::<Segment>()).cast();
            bpf_skb_load_bytes(ctx.as_ptr(), at, tail, less as u32 + 1)
        };
        if result < 0 {
            return record::count_lost(KIND_SEGMENT);
        }
        len += less as usize + 1;
    }
    segment.header = record::header(KIND_SEGMENT, len, cgroup_id);
    // SAFETY: `len` bytes were written.
    unsafe { record::output(&SECURITY, KIND_SEGMENT, bytes, len, 0) }
}
