//! The kernel's description of its own types: BTF.
//!
//! This project hard-codes no offset, argument position or enum value of the kernel; it looks them up here. The parser works
//! on the bytes of `/sys/kernel/btf/vmlinux` (or of a file with the same content, or a vmlinux), copies no names, and accepts any
//! bytes without a panic or unbounded work. It supports only complete BTF, not a module's, which extends its kernel's.

#![forbid(unsafe_code)]

mod elf;
mod enums;
mod error;
mod file;
mod funcs;
mod members;
mod names;
#[cfg(test)]
mod real;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use std::path::Path;

pub use error::BtfError;
pub(crate) use error::LookupError;
pub use funcs::{Func, Param};

use names::Names;
use wire::{Index, Kind, Type, u32_at};

/// Consecutive typedefs and qualifiers. Real kernels stay below ten; the limit ends a cycle.
const MAX_CHAIN: usize = 64;

/// A kernel's type information.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    index: Index,
    names: Names,
}

/// The class of a type, without typedefs and qualifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// An integer, a `bool` or a `char`.
    Integer,
    /// A pointer to data or to a function.
    Pointer,
    /// A struct.
    Struct,
    /// A union.
    Union,
    /// An enum of 32 or 64 bits.
    Enum,
    /// An array, including a flexible one.
    Array,
    /// Any other type: a float, an incomplete type, `void`, a damaged reference.
    Other,
}

impl Btf {
    /// Indexes raw BTF, or the `.BTF` section of an ELF file.
    ///
    /// # Errors
    ///
    /// [`BtfError`] if the bytes are not complete little-endian BTF. References between types are not checked here; a lookup that
    /// meets a damaged one finds nothing.
    pub(crate) fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let data = if elf::is_elf(&data) { elf::extract(&data)? } else { data };
        let index = Index::build(&data)?;
        let names = Names::build(&data, &index);
        Ok(Self { data, index, names })
    }

    /// Reads and indexes a file: see [`Btf::parse`].
    ///
    /// # Errors
    ///
    /// [`BtfError::Read`] if the file cannot be read, [`BtfError::Foreign`] if it is of another kind, otherwise as [`Btf::parse`].
    pub(crate) fn read(path: &Path) -> Result<Self, BtfError> {
        Self::parse(file::read(path)?)
    }

    /// Reads and indexes a file that a user passed, which must have the types of a complete kernel for this machine.
    ///
    /// # Errors
    ///
    /// As [`Btf::read`], and [`BtfError::Foreign`] if the types are not a kernel's.
    pub(crate) fn given(path: &Path) -> Result<Self, BtfError> {
        let btf = Self::read(path)?;
        file::check(&btf)?;
        Ok(btf)
    }

    /// Number of types described.
    pub const fn type_count(&self) -> u32 {
        self.index.len()
    }

    /// Whether a struct or union with this name has a full description.
    pub(crate) fn has_struct(&self, name: &str) -> bool {
        self.named(name).any(|ty| ty.kind().is_composite())
    }

    /// The types with this name, of any kind that has a namespace.
    fn named(&self, name: &str) -> impl Iterator<Item = Type<'_>> {
        self.names
            .candidates(name.as_bytes())
            .filter_map(|id| self.index.get(&self.data, id))
            .filter(|ty| self.string(ty.name_off) == name.as_bytes())
    }

    fn string(&self, offset: u32) -> &[u8] {
        self.index.string(&self.data, offset)
    }

    fn text(&self, offset: u32) -> String {
        String::from_utf8_lossy(self.string(offset)).into_owned()
    }

    /// Follows typedefs and qualifiers to the type itself; `None` for `void`, an invalid id or a cycle.
    fn resolve(&self, id: u32) -> Option<Type<'_>> {
        let mut ty = self.index.get(&self.data, id)?;
        for _ in 0..MAX_CHAIN {
            if !ty.kind().is_transparent() {
                return Some(ty);
            }
            ty = self.index.get(&self.data, ty.size_or_id)?;
        }
        None
    }

    /// As [`Btf::resolve`], and follows arrays to their element type.
    fn element(&self, id: u32) -> Option<Type<'_>> {
        let mut ty = self.resolve(id)?;
        for _ in 0..MAX_CHAIN {
            if ty.kind() != Kind::ARRAY {
                return Some(ty);
            }
            ty = self.resolve(u32_at(ty.tail, 0)?)?;
        }
        None
    }

    fn shape(&self, id: u32) -> Shape {
        self.resolve(id).map_or(Shape::Other, |ty| match ty.kind() {
            Kind::INT => Shape::Integer,
            Kind::PTR => Shape::Pointer,
            Kind::STRUCT => Shape::Struct,
            Kind::UNION => Shape::Union,
            Kind::ENUM | Kind::ENUM64 => Shape::Enum,
            Kind::ARRAY => Shape::Array,
            _ => Shape::Other,
        })
    }

    /// Size of a type in bytes; `None` for types without a size (`void`, functions, flexible arrays).
    fn size_of(&self, id: u32) -> Option<u32> {
        let mut factor = 1u32;
        let mut ty = self.resolve(id)?;
        for _ in 0..MAX_CHAIN {
            match ty.kind() {
                Kind::PTR => return factor.checked_mul(8),
                Kind::INT | Kind::STRUCT | Kind::UNION | Kind::ENUM | Kind::ENUM64 | Kind::FLOAT => {
                    return factor.checked_mul(ty.size_or_id);
                }
                Kind::ARRAY => {
                    let count = u32_at(ty.tail, 8).filter(|&count| count != 0)?;
                    factor = factor.checked_mul(count)?;
                    ty = self.resolve(u32_at(ty.tail, 0)?)?;
                }
                _ => return None,
            }
        }
        None
    }
}
