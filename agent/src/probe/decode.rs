//! From the bytes of a ring record to a [`Record`].
//!
//! Total: any bytes give a record or say why not. Lengths are exact: a record that is one byte
//! longer or shorter than it says is undecodable. Does not know what a record means.

use plimsoll_abi::{
    ABI_VERSION, CGROUP_PATH_BYTES, Cgroup, Connect, Header, KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR,
    KIND_CONNECT, KIND_OOM, KIND_SEGMENT, Oom, SEGMENT_CAPTURE_BYTES, Segment,
};
use zerocopy::FromBytes;

/// What a hook saw. Tails borrow from the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A task connects to a metadata endpoint.
    Connect(Connect),
    /// A packet to or from one, and the captured part of its payload.
    Segment(Segment, &'a [u8]),
    /// The OOM killer chose a victim.
    Oom(Oom),
    /// A cgroup appeared; its path below the root of the hierarchy, with a leading slash.
    CgroupMkdir(Cgroup, &'a [u8]),
    /// A cgroup vanished.
    CgroupRmdir(Cgroup, &'a [u8]),
}

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("undecodable kernel record of kind {kind:?} and {len} bytes: {reason}")]
pub struct Undecodable {
    /// What the header says, if there is one.
    pub kind: Option<u16>,
    /// Length of the bytes.
    pub len: usize,
    /// Why.
    pub reason: Reason,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Shorter than the header or the fixed record.
    #[error("too short")]
    Short,
    /// Written by another version of the programs.
    #[error("version {0}, expected {ABI_VERSION}")]
    Version(u16),
    /// No such kind.
    #[error("unknown kind")]
    Kind,
    /// The header's length is not that of the bytes.
    #[error("the header says {0} bytes")]
    Length(u32),
    /// A record of the other ring.
    #[error("it belongs in the other ring")]
    Ring,
    /// The tail is not as long as the record says, or longer than it may be.
    #[error("the record says a tail of {0} bytes")]
    Tail(u32),
}

/// Decodes one ring record.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Undecodable> {
    let header = Header::read_from_prefix(bytes).map(|(header, _)| header);
    let refuse = |reason| Undecodable {
        kind: header.as_ref().ok().map(|header| header.kind),
        len: bytes.len(),
        reason,
    };
    let header = header.as_ref().map_err(|_| refuse(Reason::Short))?;
    if header.version != ABI_VERSION {
        return Err(refuse(Reason::Version(header.version)));
    }
    if usize::try_from(header.len) != Ok(bytes.len()) {
        return Err(refuse(Reason::Length(header.len)));
    }
    match header.kind {
        KIND_CONNECT => fixed(bytes).map(Record::Connect),
        KIND_OOM => fixed(bytes).map(Record::Oom),
        KIND_SEGMENT => tailed(
            bytes,
            |segment: &Segment| segment.captured_len,
            SEGMENT_CAPTURE_BYTES,
        )
        .map(|(segment, payload)| Record::Segment(segment, payload)),
        KIND_CGROUP_MKDIR => tailed(bytes, |cgroup: &Cgroup| cgroup.path_len, CGROUP_PATH_BYTES)
            .map(|(cgroup, path)| Record::CgroupMkdir(cgroup, path)),
        KIND_CGROUP_RMDIR => tailed(bytes, |cgroup: &Cgroup| cgroup.path_len, CGROUP_PATH_BYTES)
            .map(|(cgroup, path)| Record::CgroupRmdir(cgroup, path)),
        _ => Err(Reason::Kind),
    }
    .map_err(refuse)
}

/// A record without a tail.
fn fixed<T: FromBytes>(bytes: &[u8]) -> Result<T, Reason> {
    match T::read_from_prefix(bytes) {
        Ok((record, [])) => Ok(record),
        Ok((_, tail)) => Err(Reason::Tail(u32::try_from(tail.len()).unwrap_or(u32::MAX))),
        Err(_) => Err(Reason::Short),
    }
}

/// A record with a tail of the length that it says, at most `bound` bytes.
fn tailed<T: FromBytes>(
    bytes: &[u8],
    says: impl Fn(&T) -> u32,
    bound: usize,
) -> Result<(T, &[u8]), Reason> {
    let (record, tail) = T::read_from_prefix(bytes).map_err(|_| Reason::Short)?;
    let said = says(&record);
    if tail.len() > bound || usize::try_from(said) != Ok(tail.len()) {
        return Err(Reason::Tail(said));
    }
    Ok((record, tail))
}

#[cfg(test)]
mod tests {
    use plimsoll_abi::KIND_CONNECT;
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;

    fn header(kind: u16, len: usize) -> Header {
        Header {
            version: ABI_VERSION,
            kind,
            len: u32::try_from(len).unwrap(),
            ..Header::default()
        }
    }

    fn segment(payload: &[u8]) -> Vec<u8> {
        let len = size_of::<Segment>() + payload.len();
        let captured_len = u32::try_from(payload.len()).unwrap();
        let segment = Segment {
            header: header(KIND_SEGMENT, len),
            captured_len,
            ..Segment::default()
        };
        [segment.as_bytes(), payload].concat()
    }

    #[test]
    fn tails_are_what_follows() {
        let bytes = segment(b"GET /");
        assert!(matches!(decode(&bytes), Ok(Record::Segment(_, b"GET /"))));
        let bytes = segment(&[7; SEGMENT_CAPTURE_BYTES]);
        assert!(
            matches!(decode(&bytes), Ok(Record::Segment(_, tail)) if tail.len() == SEGMENT_CAPTURE_BYTES)
        );
    }

    #[test]
    fn lengths_are_exact() {
        let bytes = segment(b"GET /");
        let shorter = decode(&bytes[..bytes.len() - 1]).unwrap_err();
        assert_eq!(
            shorter.reason,
            Reason::Length(u32::try_from(bytes.len()).unwrap())
        );
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(
            decode(&longer).unwrap_err().reason,
            Reason::Length(_)
        ));
        // The header agrees with the bytes, the record does not agree with its tail.
        longer[4] += 1;
        assert_eq!(decode(&longer).unwrap_err().reason, Reason::Tail(5));
        let oversized = segment(&[7; SEGMENT_CAPTURE_BYTES + 1]);
        assert!(matches!(
            decode(&oversized).unwrap_err().reason,
            Reason::Tail(_)
        ));
    }

    #[test]
    fn foreign_versions_and_kinds_are_named() {
        let connect = Connect {
            header: header(KIND_CONNECT, size_of::<Connect>()),
            ..Connect::default()
        };
        assert_eq!(decode(connect.as_bytes()), Ok(Record::Connect(connect)));
        let mut other = connect;
        other.header.version = 9;
        let refused = decode(other.as_bytes()).unwrap_err();
        assert_eq!(
            (refused.kind, refused.reason),
            (Some(KIND_CONNECT), Reason::Version(9))
        );
        other.header = header(77, size_of::<Connect>());
        assert_eq!(decode(other.as_bytes()).unwrap_err().reason, Reason::Kind);
        assert_eq!(
            decode(&[1, 0]),
            Err(Undecodable {
                kind: None,
                len: 2,
                reason: Reason::Short
            })
        );
        let mut with_tail = connect.as_bytes().to_vec();
        with_tail.push(0);
        with_tail[4] += 1;
        assert_eq!(decode(&with_tail).unwrap_err().reason, Reason::Tail(1));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            // Random bytes hardly ever carry version, kind and length of a record.
            prop_assert_eq!(decode(&bytes).map_err(|refused| refused.len), Err(bytes.len()));
        }

        /// Bytes that look like a record get deeper than random ones.
        #[test]
        fn no_plausible_bytes_panic(kind in 0_u16..8, mut bytes in prop::collection::vec(any::<u8>(), 32..1500)) {
            let len = bytes.len();
            bytes[..32].copy_from_slice(header(kind, len).as_bytes());
            if let Ok(Record::Segment(segment, tail)) = decode(&bytes) {
                prop_assert_eq!(segment.captured_len as usize, tail.len());
                prop_assert_eq!(size_of::<Segment>() + tail.len(), len);
            }
        }
    }
}
