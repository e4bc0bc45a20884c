//! What the decoder is fed: one packet of a TCP connection to a metadata endpoint.
//!
//! Whoever captures decides which side is the client; this module only knows the endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Names one connection. The kernel's socket cookie is never reused before reboot; a capture has
/// only addresses, so a new SYN starts a new connection under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnKey {
    /// `bpf_get_socket_cookie()`.
    Cookie(u64),
    /// Both ends as on the wire.
    Ends {
        /// The end that asks.
        client: SocketAddr,
        /// The metadata endpoint.
        server: SocketAddr,
    },
}

/// Which way a segment went, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the endpoint.
    Request,
    /// From the endpoint.
    Response,
}

/// One TCP segment, perhaps captured only in part.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "TCP flags are independent")]
pub struct Segment<'a> {
    /// The connection.
    pub key: ConnKey,
    /// Which way it went.
    pub direction: Direction,
    /// Sequence number of the first payload byte, or of the SYN.
    pub seq: u32,
    /// Acknowledgement number; `None` where the ACK flag is not set.
    pub ack: Option<u32>,
    /// Opens the direction.
    pub syn: bool,
    /// Closes the direction.
    pub fin: bool,
    /// Tears the connection down.
    pub rst: bool,
    /// Part of a fragmented IP packet.
    pub fragment: bool,
    /// IPv4 TTL or IPv6 hop limit as captured; `None` if the capture does not say.
    pub hop_limit: Option<u8>,
    /// The payload bytes that were captured.
    pub payload: &'a [u8],
    /// Payload length on the wire, bytes; more than `payload` where the capture was cut.
    pub payload_len: u32,
    /// Capture time, nanoseconds; any origin, the same for all segments of a decoder.
    pub time_ns: u64,
    /// Where the segment came from.
    pub src: SocketAddr,
    /// Where it went.
    pub dst: SocketAddr,
}

impl Segment<'_> {
    /// The two ends as (client, server).
    pub const fn ends(&self) -> (SocketAddr, SocketAddr) {
        match self.direction {
            Direction::Request => (self.src, self.dst),
            Direction::Response => (self.dst, self.src),
        }
    }
}

/// A service at a link-local address that hands out metadata or credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// EC2 instance metadata: 169.254.169.254, fd00:ec2::254.
    Imds,
    /// EKS Pod Identity agent: 169.254.170.23, fd00:ec2::23.
    PodIdentity,
    /// ECS task credentials: 169.254.170.2. Nothing answers there on an EKS node.
    Ecs,
}

impl Endpoint {
    /// IMDS over IPv4.
    pub const IMDS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
    /// IMDS over IPv6 (Nitro instances with the IPv6 endpoint enabled).
    pub const IMDS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    /// Pod Identity agent over IPv4.
    pub const POD_IDENTITY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);
    /// Pod Identity agent over IPv6.
    pub const POD_IDENTITY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);
    /// ECS task credentials.
    pub const ECS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

    /// The endpoint at an address; IPv4-mapped IPv6 addresses count as IPv4.
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            IpAddr::V4(Self::IMDS_V4) | IpAddr::V6(Self::IMDS_V6) => Some(Self::Imds),
            IpAddr::V4(Self::POD_IDENTITY_V4) | IpAddr::V6(Self::POD_IDENTITY_V6) => {
                Some(Self::PodIdentity)
            }
            IpAddr::V4(Self::ECS_V4) => Some(Self::Ecs),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_by_address() {
        for (text, expected) in [
            ("169.254.169.254", Some(Endpoint::Imds)),
            ("::ffff:169.254.169.254", Some(Endpoint::Imds)),
            ("fd00:ec2::254", Some(Endpoint::Imds)),
            ("169.254.170.23", Some(Endpoint::PodIdentity)),
            ("fd00:ec2::23", Some(Endpoint::PodIdentity)),
            ("169.254.170.2", Some(Endpoint::Ecs)),
            ("169.254.169.253", None),
            ("fd00:ec2::253", None),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Endpoint::of(ip), expected, "{text}");
        }
    }
}
