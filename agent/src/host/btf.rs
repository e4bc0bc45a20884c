//! Reads the kernel's type description (BTF) for the one thing that we ask of it: whether a typedef
//! exists. Layouts come from the `format` files of tracepoints, and no program reads a kernel struct.
//!
//! Pure, and every access is checked: the bytes come from a file. Format: kernel
//! Documentation/bpf/btf.rst. A parser of our own, because a general one costs 25 MiB of memory;
//! this one keeps nothing.

/// Number of the first type; 0 is `void`.
const FIRST: u32 = 1;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Bytes that are no BTF of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Wrong magic or version: another byte order, or no BTF.
    #[error("no BTF of this machine's byte order (magic {magic:#06x}, version {version})")]
    Magic {
        /// First two bytes.
        magic: u16,
        /// Third byte.
        version: u8,
    },
    /// A section or type reaches beyond the end.
    #[error("BTF ends early: {0}")]
    Truncated(&'static str),
    /// A kind that this parser does not know the length of.
    #[error("BTF type {id} has unknown kind {kind}")]
    Kind {
        /// Number of the type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
}

/// The types of one kernel.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Walks the bytes of `/sys/kernel/btf/vmlinux` once, to their end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let magic = u16_at(bytes, 0).ok_or(BtfError::Truncated("header"))?;
        let version = *bytes.get(2).ok_or(BtfError::Truncated("header"))?;
        if magic != 0xeb9f || version != 1 {
            return Err(BtfError::Magic { magic, version });
        }
        let word = |at| u32_at(bytes, at).ok_or(BtfError::Truncated("header"));
        let header_len = word(4)?;
        let section = |offset: u32, len: u32, what| {
            let start = u64::from(header_len) + u64::from(offset);
            let end = start + u64::from(len);
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            range
                .and_then(|(start, end)| bytes.get(start..end))
                .ok_or(BtfError::Truncated(what))
        };
        let types = section(word(8)?, word(12)?, "types")?;
        let strings = section(word(16)?, word(20)?, "strings")?;
        for ty in Types::of(types) {
            ty?;
        }
        Ok(Self { types, strings })
    }

    /// True if there is a typedef of that name; each tracepoint `x` has one called `btf_trace_x`.
    pub fn has_typedef(&self, name: &str) -> bool {
        Types::of(self.types)
            .map_while(Result::ok)
            .any(|ty| ty.kind == KIND_TYPEDEF && self.string(ty.name) == Some(name.as_bytes()))
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let bytes = self.strings.get(offset as usize..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        bytes.get(..end)
    }
}

/// One type, as far as it is asked for.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    kind: u32,
}

/// The types one after another; the first error is the last item.
#[derive(Debug)]
struct Types<'a> {
    bytes: &'a [u8],
    at: usize,
    id: u32,
}

impl<'a> Types<'a> {
    const fn of(types: &'a [u8]) -> Self {
        Self {
            bytes: types,
            at: 0,
            id: FIRST,
        }
    }

    fn read(&self) -> Result<(Type, usize), BtfError> {
        let word = |at| u32_at(self.bytes, at).ok_or(BtfError::Truncated("a type"));
        let (name, info) = (word(self.at)?, word(self.at + 4)?);
        let kind = (info >> 24) & 0x1f;
        let vlen = (info & 0xffff) as usize;
        let tail = match kind {
            KIND_PTR | KIND_FWD | KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT
            | KIND_FUNC | KIND_FLOAT | KIND_TYPE_TAG => 0,
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => vlen * 12,
            KIND_ENUM | KIND_FUNC_PROTO => vlen * 8,
            kind => return Err(BtfError::Kind { id: self.id, kind }),
        };
        let next = self.at + 12 + tail;
        if next > self.bytes.len() {
            return Err(BtfError::Truncated("the last type"));
        }
        Ok((Type { name, kind }, next))
    }
}

impl Iterator for Types<'_> {
    type Item = Result<Type, BtfError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let read = self.read();
        self.at = read.as_ref().map_or(self.bytes.len(), |(_, next)| *next);
        self.id = self.id.saturating_add(1);
        Some(read.map(|(ty, _)| ty))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u16::from_ne_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes BTF, one type after another.
    #[derive(Default)]
    struct Writer {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Writer {
        fn string(&mut self, text: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if text.is_empty() {
                return 0;
            }
            let at = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend_from_slice(text.as_bytes());
            self.strings.push(0);
            at
        }

        /// Adds a type with so many words behind it.
        fn add(&mut self, name: &str, kind: u32, vlen: u32, words: usize) {
            let name = self.string(name);
            // Size, or the number of another type.
            let head = [name, vlen | kind << 24, 4];
            for word in head.into_iter().chain(std::iter::repeat_n(1, words)) {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
            let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
            bytes.extend([1, 0]);
            for word in [
                24,
                0,
                len(&self.types),
                len(&self.types),
                len(&self.strings),
            ] {
                bytes.extend_from_slice(&word.to_ne_bytes());
            }
            bytes.extend_from_slice(&self.types);
            bytes.extend_from_slice(&self.strings);
            bytes
        }
    }

    /// A type of each kind that real kernels have, and then the one that is asked for.
    fn kernel() -> Vec<u8> {
        let mut w = Writer::default();
        for (kind, vlen, words) in [
            (KIND_INT, 0, 1),
            (KIND_PTR, 0, 0),
            (KIND_ARRAY, 0, 3),
            (KIND_STRUCT, 2, 6),
            (KIND_UNION, 1, 3),
            (KIND_ENUM, 3, 6),
            (KIND_FWD, 0, 0),
            (KIND_VOLATILE, 0, 0),
            (KIND_CONST, 0, 0),
            (KIND_RESTRICT, 0, 0),
            (KIND_FUNC, 1, 0),
            (KIND_FUNC_PROTO, 4, 8),
            (KIND_VAR, 0, 1),
            (KIND_DATASEC, 2, 6),
            (KIND_FLOAT, 0, 0),
            (KIND_DECL_TAG, 0, 1),
            (KIND_TYPE_TAG, 0, 0),
            (KIND_ENUM64, 2, 6),
        ] {
            w.add("btf_trace_y", kind, vlen, words);
        }
        w.add("", KIND_TYPEDEF, 0, 0);
        w.add("btf_trace_x", KIND_TYPEDEF, 0, 0);
        w.bytes()
    }

    #[test]
    fn a_typedef_is_found_behind_every_kind() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        assert!(btf.has_typedef("btf_trace_x"));
        assert!(!btf.has_typedef("btf_trace_y"), "it is no typedef");
        assert!(!btf.has_typedef("btf_trace"));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let bytes = kernel();
        assert_eq!(Btf::parse(&[]).unwrap_err(), BtfError::Truncated("header"));
        let mut foreign = bytes.clone();
        foreign.swap(0, 1);
        assert!(matches!(Btf::parse(&foreign), Err(BtfError::Magic { .. })));
        assert_eq!(
            Btf::parse(&bytes[..bytes.len() - 1]).unwrap_err(),
            BtfError::Truncated("strings")
        );
        let mut short = bytes.clone();
        let types_len = u32_at(&bytes, 12).unwrap() - 1;
        short[12..16].copy_from_slice(&types_len.to_ne_bytes());
        assert!(matches!(Btf::parse(&short), Err(BtfError::Truncated(_))));
        let mut unknown = bytes;
        unknown[24 + 7] = 0x1f;
        assert_eq!(
            Btf::parse(&unknown).unwrap_err(),
            BtfError::Kind { id: 1, kind: 0x1f }
        );
    }

    proptest! {
        /// A kernel with some bytes changed, cut anywhere: an answer or an error, never a panic.
        #[test]
        fn no_bytes_panic(changes in prop::collection::vec((2..600_usize, any::<u8>()), 0..6), cut in 0..700_usize) {
            let mut bytes = kernel();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(cut.max(1));
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = btf.has_typedef("btf_trace_x");
            }
        }
    }
}
