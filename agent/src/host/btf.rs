//! Reads the kernel's type description (BTF) for the few things that we ask of it: where a struct
//! keeps a member, whether a type exists, and what an enum calls its values.
//!
//! Pure, and every access is checked: the bytes come from a file. Format: kernel
//! Documentation/bpf/btf.rst. A parser of our own, because the one in aya does not give offsets
//! and a general one costs 25 MiB of memory; this one keeps one word per type while it is asked.

/// Number of the first type; 0 is `void`.
const FIRST: u32 = 1;
/// More modifiers or anonymous members inside each other than any compiler writes.
const DEPTH: u32 = 32;

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
    /// Where each type starts in `types`; the first is type 1.
    starts: Vec<u32>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bits from the start of the outermost struct.
    pub offset_bits: u32,
    /// Bits, if it is a bit field.
    pub bit_field: Option<u32>,
    /// Number of its type.
    pub type_id: u32,
}

impl Member {
    /// Bytes from the start; `None` for a bit field.
    pub fn offset_bytes(self) -> Option<u32> {
        (self.bit_field.is_none() && self.offset_bits.is_multiple_of(8))
            .then_some(self.offset_bits / 8)
    }
}

impl<'a> Btf<'a> {
    /// Indexes the bytes of `/sys/kernel/btf/vmlinux`.
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
        let starts = starts(types)?;
        Ok(Self {
            types,
            strings,
            starts,
        })
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes from the start of `struct type_name` to its member; `None` if there is no such struct,
    /// no such member, or it is a bit field. Members of anonymous members count as its own.
    pub fn offset_of(&self, type_name: &str, member: &str) -> Option<u32> {
        self.member(type_name, member)?.offset_bytes()
    }

    /// The member of that name.
    pub fn member(&self, type_name: &str, member: &str) -> Option<Member> {
        // A kernel can have several structs of one name; the first that has the member answers.
        self.named(type_name)
            .filter(|ty| matches!(ty.kind, KIND_STRUCT | KIND_UNION))
            .find_map(|ty| self.member_of(ty, member, 0, DEPTH))
    }

    /// Size in bytes of what a type number stands for, through typedefs and qualifiers; `None` for
    /// what has no fixed size here.
    pub fn size_of(&self, type_id: u32) -> Option<u32> {
        let ty = self.resolve(type_id)?;
        match ty.kind {
            KIND_INT | KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_FLOAT | KIND_ENUM64 => {
                Some(ty.operand)
            }
            KIND_PTR => u32::try_from(size_of::<usize>()).ok(),
            _ => None,
        }
    }

    /// True if there is a typedef of that name; each tracepoint `x` has one called `btf_trace_x`.
    pub fn has_typedef(&self, name: &str) -> bool {
        self.named(name).any(|ty| ty.kind == KIND_TYPEDEF)
    }

    /// Number of parameters of the function type behind a typedef: for `btf_trace_x` the arguments
    /// of the tracepoint and one more (the data pointer in front).
    pub fn parameters(&self, typedef: &str) -> Option<u32> {
        let typedef = self.named(typedef).find(|ty| ty.kind == KIND_TYPEDEF)?;
        let pointer = self
            .resolve(typedef.operand)
            .filter(|ty| ty.kind == KIND_PTR)?;
        let function = self.resolve(pointer.operand)?;
        (function.kind == KIND_FUNC_PROTO).then_some(function.vlen)
    }

    /// Names and values of `enum name`; empty if there is none.
    pub fn enum_values(&self, name: &str) -> Vec<(&'a str, i64)> {
        let Some(ty) = self
            .named(name)
            .find(|ty| matches!(ty.kind, KIND_ENUM | KIND_ENUM64))
        else {
            return Vec::new();
        };
        let step = if ty.kind == KIND_ENUM { 8 } else { 12 };
        (0..ty.vlen as usize)
            .filter_map(|index| {
                let at = ty.rest + index * step;
                let name = self.string(u32_at(self.types, at)?)?;
                let low = u32_at(self.types, at + 4)?;
                let value = match (ty.kind, ty.flag) {
                    (KIND_ENUM64, _) => {
                        i64::from(low) | (i64::from(u32_at(self.types, at + 8)?) << 32)
                    }
                    (_, true) => i64::from(low.cast_signed()),
                    (_, false) => i64::from(low),
                };
                Some((name, value))
            })
            .collect()
    }

    /// All types of that name.
    fn named(&self, name: &str) -> impl Iterator<Item = Type> {
        self.starts
            .iter()
            .filter_map(|start| type_at(self.types, *start as usize))
            .filter(move |ty| ty.name != 0 && self.string(ty.name) == Some(name))
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let start = self.starts.get(id.checked_sub(FIRST)? as usize)?;
        type_at(self.types, *start as usize)
    }

    /// What is behind typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<Type> {
        let mut ty = self.by_id(id)?;
        for _ in 0..DEPTH {
            match ty.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    ty = self.by_id(ty.operand)?;
                }
                _ => return Some(ty),
            }
        }
        None
    }

    fn member_of(&self, ty: Type, wanted: &str, base_bits: u32, depth: u32) -> Option<Member> {
        let depth = depth.checked_sub(1)?;
        for index in 0..ty.vlen as usize {
            let at = ty.rest + index * 12;
            let name = self.string(u32_at(self.types, at)?)?;
            let type_id = u32_at(self.types, at + 4)?;
            let word = u32_at(self.types, at + 8)?;
            // With the flag, the upper byte is the width of a bit field.
            let (offset, width) = if ty.flag {
                (word & 0x00ff_ffff, word >> 24)
            } else {
                (word, 0)
            };
            let offset_bits = base_bits.checked_add(offset)?;
            if name == wanted {
                let bit_field = (width != 0).then_some(width);
                return Some(Member {
                    offset_bits,
                    bit_field,
                    type_id,
                });
            }
            let inner = if name.is_empty() {
                self.resolve(type_id)
            } else {
                None
            };
            if let Some(inner) =
                inner.filter(|inner| matches!(inner.kind, KIND_STRUCT | KIND_UNION))
                && let Some(found) = self.member_of(inner, wanted, offset_bits, depth)
            {
                return Some(found);
            }
        }
        None
    }

    fn string(&self, offset: u32) -> Option<&'a str> {
        let bytes = self.strings.get(offset as usize..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(bytes.get(..end)?).ok()
    }
}

/// One type's fixed part.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    kind: u32,
    vlen: u32,
    flag: bool,
    /// Size in bytes, or the number of another type: as the kind says.
    operand: u32,
    /// Where what follows the fixed part starts.
    rest: usize,
}

fn type_at(types: &[u8], at: usize) -> Option<Type> {
    let info = u32_at(types, at + 4)?;
    Some(Type {
        name: u32_at(types, at)?,
        kind: (info >> 24) & 0x1f,
        vlen: info & 0xffff,
        flag: info >> 31 == 1,
        operand: u32_at(types, at + 8)?,
        rest: at + 12,
    })
}

/// Where each type starts.
fn starts(types: &[u8]) -> Result<Vec<u32>, BtfError> {
    // A type takes at least 12 bytes and some 20 on average.
    let mut starts = Vec::with_capacity(types.len() / 20);
    let mut at = 0;
    while at < types.len() {
        let ty = type_at(types, at).ok_or(BtfError::Truncated("a type"))?;
        let vlen = ty.vlen as usize;
        let tail = match ty.kind {
            KIND_PTR | KIND_FWD | KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT
            | KIND_FUNC | KIND_FLOAT | KIND_TYPE_TAG => 0,
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => vlen * 12,
            KIND_ENUM | KIND_FUNC_PROTO => vlen * 8,
            kind => {
                return Err(BtfError::Kind {
                    id: u32::try_from(starts.len()).unwrap_or(u32::MAX) + FIRST,
                    kind,
                });
            }
        };
        starts
            .push(u32::try_from(at).map_err(|_| BtfError::Truncated("more than 4 GiB of types"))?);
        at = ty.rest + tail;
    }
    if at == types.len() {
        Ok(starts)
    } else {
        Err(BtfError::Truncated("the last type"))
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
        count: u32,
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

        /// Adds a type with the words behind it; its number.
        fn add(
            &mut self,
            name: &str,
            kind: u32,
            flag: bool,
            vlen: u32,
            operand: u32,
            words: &[u32],
        ) -> u32 {
            let name = self.string(name);
            let info = vlen | kind << 24 | u32::from(flag) << 31;
            for word in [name, info, operand].iter().chain(words) {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
            self.count += 1;
            self.count
        }

        /// Adds a struct or union of members (name, type, offset word).
        fn add_struct(
            &mut self,
            name: &str,
            kind: u32,
            flag: bool,
            members: &[(&str, u32, u32)],
        ) -> u32 {
            let words: Vec<u32> = members
                .iter()
                .flat_map(|(name, ty, offset)| [self.string(name), *ty, *offset])
                .collect();
            self.add(
                name,
                kind,
                flag,
                u32::try_from(members.len()).unwrap(),
                64,
                &words,
            )
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

    /// A kernel of one struct, with everything that real ones have.
    fn kernel() -> Vec<u8> {
        let mut w = Writer::default();
        let int = w.add("int", KIND_INT, false, 0, 4, &[32]);
        let pid_t = w.add("pid_t", KIND_TYPEDEF, false, 0, int, &[]);
        let volatile = w.add("", KIND_VOLATILE, false, 0, pid_t, &[]);
        let inner = w.add_struct(
            "",
            KIND_STRUCT,
            false,
            &[("deep", int, 0), ("deeper", int, 32)],
        );
        let either = w.add_struct("", KIND_UNION, false, &[("other", int, 0), ("", inner, 0)]);
        let wrapped = w.add("", KIND_CONST, false, 0, either, &[]);
        w.add_struct("task", KIND_FWD, false, &[]);
        w.add_struct(
            "task",
            KIND_STRUCT,
            false,
            &[("first", int, 0), ("pid", volatile, 64), ("", wrapped, 128)],
        );
        w.add_struct(
            "bits",
            KIND_STRUCT,
            true,
            &[("flag", int, 3 << 24 | 5), ("plain", int, 32)],
        );
        let words = [w.string("NEGATIVE"), u32::MAX, w.string("ONE"), 1];
        w.add("small", KIND_ENUM, true, 2, 4, &words);
        let words = [w.string("BIG"), 1, 2];
        w.add("large", KIND_ENUM64, false, 1, 8, &words);
        w.add("array", KIND_ARRAY, false, 0, 0, &[int, int, 3]);
        let function = w.add(
            "",
            KIND_FUNC_PROTO,
            false,
            4,
            0,
            &[0, int, 0, int, 0, int, 0, int],
        );
        let pointer = w.add("", KIND_PTR, false, 0, function, &[]);
        w.add("btf_trace_x", KIND_TYPEDEF, false, 0, pointer, &[]);
        w.add("section", KIND_DATASEC, false, 1, 4, &[int, 0, 4]);
        w.bytes()
    }

    #[test]
    fn members_by_name() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.len(), 16);
        assert_eq!(btf.offset_of("task", "first"), Some(0));
        assert_eq!(btf.offset_of("task", "pid"), Some(8));
        assert_eq!(
            btf.size_of(btf.member("task", "pid").unwrap().type_id),
            Some(4)
        );
        // Through a qualifier, a union and a struct without names.
        assert_eq!(btf.offset_of("task", "other"), Some(16));
        assert_eq!(btf.offset_of("task", "deeper"), Some(20));
        assert_eq!(btf.offset_of("task", "nothing"), None);
        assert_eq!(btf.offset_of("nobody", "pid"), None);
        assert_eq!(btf.offset_of("", "deep"), None);
    }

    #[test]
    fn bit_fields_have_no_byte_offset() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        let flag = btf.member("bits", "flag").unwrap();
        assert_eq!(
            (flag.offset_bits, flag.bit_field, flag.offset_bytes()),
            (5, Some(3), None)
        );
        assert_eq!(btf.offset_of("bits", "plain"), Some(4));
    }

    #[test]
    fn enums_typedefs_and_prototypes() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.enum_values("small"), [("NEGATIVE", -1), ("ONE", 1)]);
        assert_eq!(btf.enum_values("large"), [("BIG", 1 | 2 << 32)]);
        assert_eq!(btf.enum_values("task"), []);
        assert!(btf.has_typedef("pid_t") && !btf.has_typedef("task"));
        assert_eq!(btf.parameters("btf_trace_x"), Some(4));
        assert_eq!(btf.parameters("pid_t"), None);
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
        let mut unknown = bytes;
        unknown[24 + 7] = 0x1f;
        assert_eq!(
            Btf::parse(&unknown).unwrap_err(),
            BtfError::Kind { id: 1, kind: 0x1f }
        );
    }

    proptest! {
        /// A kernel with some bytes changed, cut anywhere: an answer or an error, never a panic,
        /// and never without end (types that contain themselves).
        #[test]
        fn no_bytes_panic(changes in prop::collection::vec((2..600_usize, any::<u8>()), 0..6), cut in 0..700_usize) {
            let mut bytes = kernel();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(cut.max(1));
            if let Ok(btf) = Btf::parse(&bytes) {
                let far = btf.offset_of("task", "deeper").map(|offset| offset < 1 << 29);
                prop_assert_ne!(far, Some(false), "more bits than a word has");
                drop(btf.enum_values("small"));
                drop((0..20).map(|id| btf.size_of(id)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_type_that_contains_itself_ends() {
        let mut w = Writer::default();
        w.add_struct("loop", KIND_STRUCT, false, &[("", 1, 0)]);
        w.add("circle", KIND_TYPEDEF, false, 0, 2, &[]);
        let bytes = w.bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset_of("loop", "x"), None);
        assert_eq!(btf.size_of(2), None);
    }
}
