//! Which addresses are metadata endpoints.
//!
//! 169.254.169.254 and fd00:ec2::254 are EC2's instance metadata (AWS EC2 user guide, "Access
//! instance metadata"), 169.254.170.23 and fd00:ec2::23 the EKS Pod Identity agent, 169.254.170.2
//! the ECS task metadata, which nothing on an EKS node should ask. Any port: a proxy on another
//! port at these addresses is as interesting.

const IMDS_V4: u32 = u32::from_ne_bytes([169, 254, 169, 254]);
const POD_IDENTITY_V4: u32 = u32::from_ne_bytes([169, 254, 170, 23]);
const ECS_V4: u32 = u32::from_ne_bytes([169, 254, 170, 2]);

/// fd00:ec2::/64, the first two words.
const EC2_V6: [u32; 2] = [u32::from_ne_bytes([0xfd, 0x00, 0x0e, 0xc2]), 0];
const IMDS_V6: u32 = u32::from_ne_bytes([0, 0, 0x02, 0x54]);
const POD_IDENTITY_V6: u32 = u32::from_ne_bytes([0, 0, 0, 0x23]);
/// `::ffff:0:0/96`, the third word.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// An IPv4 address as it lies in memory or on the wire.
#[inline(always)]
pub fn is_v4(address: u32) -> bool {
    address == IMDS_V4 || address == POD_IDENTITY_V4 || address == ECS_V4
}

/// An IPv6 address as it lies in memory or on the wire; v4-mapped ones included.
#[inline(always)]
pub fn is_v6(address: [u32; 4]) -> bool {
    if address[0] == EC2_V6[0] {
        return address[1] == EC2_V6[1]
            && address[2] == 0
            && (address[3] == IMDS_V6 || address[3] == POD_IDENTITY_V6);
    }
    address[0] == 0 && address[1] == 0 && address[2] == MAPPED && is_v4(address[3])
}
