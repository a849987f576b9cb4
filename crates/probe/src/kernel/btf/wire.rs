//! The BTF wire format: header, type records and the index over them (`include/uapi/linux/btf.h`).
//!
//! The input may be hostile: each access is bounds-checked, and nothing panics.

use std::ops::Range;

use super::BtfError;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// The header of the first kernels with BTF; newer ones append the offset and length of the layout section.
const HEADER_LEN: usize = 24;
const HEADER_LEN_WITH_LAYOUT: usize = 32;
/// Name offset, info, and size or type.
const TYPE_LEN: usize = 12;
/// One `struct btf_layout`.
const LAYOUT_LEN: usize = 4;
/// The kernel's own names stay below 512 bytes. The limit keeps a damaged string section from being scanned repeatedly.
const MAX_NAME_LEN: usize = 1024;

/// The kind of a type record (`BTF_KIND_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const INT: Self = Self(1);
    pub(super) const PTR: Self = Self(2);
    pub(super) const ARRAY: Self = Self(3);
    pub(super) const STRUCT: Self = Self(4);
    pub(super) const UNION: Self = Self(5);
    pub(super) const ENUM: Self = Self(6);
    pub(super) const FWD: Self = Self(7);
    pub(super) const TYPEDEF: Self = Self(8);
    pub(super) const VOLATILE: Self = Self(9);
    pub(super) const CONST: Self = Self(10);
    pub(super) const RESTRICT: Self = Self(11);
    pub(super) const FUNC: Self = Self(12);
    pub(super) const FUNC_PROTO: Self = Self(13);
    pub(super) const VAR: Self = Self(14);
    pub(super) const DATASEC: Self = Self(15);
    pub(super) const FLOAT: Self = Self(16);
    pub(super) const DECL_TAG: Self = Self(17);
    pub(super) const TYPE_TAG: Self = Self(18);
    pub(super) const ENUM64: Self = Self(19);

    pub(super) const fn is_composite(self) -> bool {
        matches!(self, Self::STRUCT | Self::UNION)
    }

    pub(super) const fn is_enum(self) -> bool {
        matches!(self, Self::ENUM | Self::ENUM64)
    }

    /// Kinds that only qualify or rename the type they refer to.
    pub(super) const fn is_transparent(self) -> bool {
        matches!(self, Self::TYPEDEF | Self::VOLATILE | Self::CONST | Self::RESTRICT | Self::TYPE_TAG)
    }

    /// Lengths of the bytes that follow the record: a fixed part and a part per element.
    const fn tail(self) -> Option<(usize, usize)> {
        Some(match self {
            Self::INT | Self::VAR | Self::DECL_TAG => (4, 0),
            Self::ARRAY => (12, 0),
            Self::STRUCT | Self::UNION | Self::DATASEC | Self::ENUM64 => (0, 12),
            Self::ENUM | Self::FUNC_PROTO => (0, 8),
            Self::PTR
            | Self::FWD
            | Self::TYPEDEF
            | Self::VOLATILE
            | Self::CONST
            | Self::RESTRICT
            | Self::FUNC
            | Self::FLOAT
            | Self::TYPE_TAG => (0, 0),
            _ => return None,
        })
    }
}

/// One type record and the bytes that belong to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type<'a> {
    pub(super) id: u32,
    pub(super) name_off: u32,
    info: u32,
    /// Size in bytes, or the id of another type, depending on the kind.
    pub(super) size_or_id: u32,
    /// The bytes that follow the record: members, parameters, enumerators…
    pub(super) tail: &'a [u8],
}

impl Type<'_> {
    pub(super) const fn kind(&self) -> Kind {
        Kind((self.info >> 24 & 0x7f) as u8)
    }

    /// For structs: members carry a bit-field size. For enums: the values are signed.
    pub(super) const fn flag(&self) -> bool {
        self.info >> 31 != 0
    }
}

/// Splits a record's `info`: bits 0–23 element count, 24–30 kind, 31 flag.
///
/// Kernels before 7.1 use fewer bits of each field and require the others to be zero, so this split is right for all.
const fn split_info(info: u32) -> (Kind, usize) {
    (Kind((info >> 24 & 0x7f) as u8), (info & 0x00ff_ffff) as usize)
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let chunk = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*chunk))
}

/// The sections of the file, and the start of each type record.
#[derive(Debug)]
pub(super) struct Index {
    types: Range<usize>,
    strings: Range<usize>,
    layout: Range<usize>,
    /// Offset of each record in the type section; type 1 is at index 0, type 0 is `void`.
    offsets: Vec<u32>,
}

impl Index {
    /// Reads the header and walks through all type records once.
    pub(super) fn build(data: &[u8]) -> Result<Self, BtfError> {
        let mut index = Self::read_header(data)?;
        let types = data.get(index.types.clone()).unwrap_or_default();
        // In a real kernel, a record and the bytes that follow it average about 30 bytes.
        let mut offsets = Vec::with_capacity(types.len() / 32);
        let mut at = 0;
        while at < types.len() {
            let id = offsets.len() as u32 + 1;
            let end = index.record_end(data, types, at, id)?;
            offsets.push(at as u32);
            at = end;
        }
        index.offsets = offsets;
        Ok(index)
    }

    fn read_header(data: &[u8]) -> Result<Self, BtfError> {
        let magic = data.first_chunk::<2>().ok_or(BtfError::Truncated { part: "header" })?;
        match u16::from_le_bytes(*magic) {
            MAGIC => {}
            swapped if swapped.swap_bytes() == MAGIC => return Err(BtfError::BigEndian),
            _ => return Err(BtfError::NotBtf),
        }
        let field = |offset| u32_at(data, offset).ok_or(BtfError::Truncated { part: "header" });
        let version = data.get(2).copied().unwrap_or_default();
        if version != VERSION {
            return Err(BtfError::Version { version });
        }
        let header_len = field(4)? as usize;
        if header_len < HEADER_LEN || header_len > data.len() {
            return Err(BtfError::Truncated { part: "header" });
        }
        let section = |part, offset: u32, len: u32| {
            let start = header_len.saturating_add(offset as usize);
            let end = start.saturating_add(len as usize);
            (end <= data.len()).then_some(start..end).ok_or(BtfError::Truncated { part })
        };
        let types = section("type section", field(8)?, field(12)?)?;
        let strings = section("string section", field(16)?, field(20)?)?;
        let layout = if header_len >= HEADER_LEN_WITH_LAYOUT {
            section("layout section", field(24)?, field(28)?)?
        } else {
            0..0
        };
        Ok(Self { types, strings, layout, offsets: Vec::new() })
    }

    /// The end, in the type section, of the record that starts at `at`.
    fn record_end(&self, data: &[u8], types: &[u8], at: usize, id: u32) -> Result<usize, BtfError> {
        let truncated = BtfError::Truncated { part: "type section" };
        let Some(info) = u32_at(types, at + 4) else {
            return Err(truncated);
        };
        let (kind, count) = split_info(info);
        let tail = self.tail_len(data, kind, count).ok_or(BtfError::UnknownKind { kind: kind.0, id })?;
        let end = at.saturating_add(TYPE_LEN).saturating_add(tail);
        if end > types.len() {
            return Err(truncated);
        }
        Ok(end)
    }

    /// Length of the bytes that follow a record; for kinds newer than this parser, from the layout section.
    fn tail_len(&self, data: &[u8], kind: Kind, count: usize) -> Option<usize> {
        let (fixed, per_element) = kind.tail().or_else(|| {
            let layout = data.get(self.layout.clone())?;
            let entry = layout.get(usize::from(kind.0) * LAYOUT_LEN..)?.first_chunk::<2>()?;
            Some((usize::from(entry[0]), usize::from(entry[1])))
        })?;
        Some(fixed.saturating_add(per_element.saturating_mul(count)))
    }

    /// Number of types, not counting `void`.
    pub(super) const fn len(&self) -> u32 {
        self.offsets.len() as u32
    }

    /// The record of a type; `None` for `void` (id 0) and ids past the end.
    pub(super) fn get<'a>(&self, data: &'a [u8], id: u32) -> Option<Type<'a>> {
        let at = *self.offsets.get((id as usize).checked_sub(1)?)? as usize;
        let record = data.get(self.types.clone())?.get(at..)?;
        let info = u32_at(record, 4)?;
        let (kind, count) = split_info(info);
        let tail = self.tail_len(data, kind, count)?;
        Some(Type {
            id,
            name_off: u32_at(record, 0)?,
            info,
            size_or_id: u32_at(record, 8)?,
            tail: record.get(TYPE_LEN..TYPE_LEN + tail)?,
        })
    }

    /// The string at `offset` in the string section, without its terminator; empty if there is none.
    pub(super) fn string<'a>(&self, data: &'a [u8], offset: u32) -> &'a [u8] {
        let strings = data.get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(offset as usize..).unwrap_or_default();
        let rest = rest.get(..MAX_NAME_LEN).unwrap_or(rest);
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or_default();
        rest.get(..end).unwrap_or_default()
    }
}
