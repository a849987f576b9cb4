//! Members of structs and unions: their offsets and types.

use super::wire::{Kind, Type, u32_at};
use super::{Btf, LookupError, Shape};

/// Types and members that one lookup may visit. The largest real struct, including anonymous members, has fewer than a thousand
/// members, and few names stand for more than one struct.
pub(super) const BUDGET: u32 = 100_000;
/// Nesting depth of anonymous structs and unions. Real kernels stay below ten.
const MAX_NESTING: u32 = 32;

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Bits from the start of the outermost struct.
    pub bit_offset: u32,
    /// Width in bits, for bit fields only.
    pub bit_field: Option<u32>,
    /// The member's type, without typedefs and qualifiers.
    pub shape: Shape,
    /// Size of the member's type in bytes; `None` for a flexible array and for incomplete types.
    pub size: Option<u32>,
}

impl Member {
    /// Bytes from the start of the outermost struct; `None` for a bit field.
    pub(crate) const fn offset(&self) -> Option<u32> {
        if self.bit_field.is_some() || !self.bit_offset.is_multiple_of(8) {
            None
        } else {
            Some(self.bit_offset / 8)
        }
    }
}

/// A member found in one struct: its place and type.
#[derive(Clone, Copy)]
struct Found {
    bit_offset: u32,
    bit_field: Option<u32>,
    type_id: u32,
}

/// One lookup and the rest of its budget.
struct Walk<'a> {
    btf: &'a Btf,
    name: &'a str,
    budget: u32,
}

impl Btf {
    /// The member at `path` of the struct, union or typedef `name`.
    ///
    /// Dots join the components of the path. The lookup goes through anonymous structs and unions, typedefs and qualifiers; an
    /// array stands for its first element. If a kernel has several definitions of the name, all that have the member must agree.
    ///
    /// # Errors
    ///
    /// [`LookupError`] names the part of the lookup that failed on this kernel.
    pub(crate) fn member(&self, name: &str, path: &str) -> Result<Member, LookupError> {
        let mut answer = Err(LookupError::NoType { name: name.into() });
        let mut walk = Walk { btf: self, name, budget: BUDGET };
        for root in self.composites(name) {
            walk.step()?;
            match (walk.follow(root, path), &answer) {
                // Whether the other definitions agree is unknown.
                (Err(error @ LookupError::Endless { .. }), _) => return Err(error),
                (Ok(member), Ok(earlier)) if member != *earlier => {
                    return Err(LookupError::Ambiguous { name: name.into(), path: path.into() });
                }
                (Ok(member), _) => answer = Ok(member),
                (Err(error), Err(LookupError::NoType { .. })) => answer = Err(error),
                (Err(_), _) => {}
            }
        }
        answer
    }

    /// Offset of a member in bytes ([`Btf::member`] describes paths); `None` if there is no such member, or for a bit field.
    pub(crate) fn member_offset(&self, name: &str, path: &str) -> Option<u32> {
        self.member(name, path).ok()?.offset()
    }

    /// Whether a member is a pointer, as 5.10's `dev_pagemap.ref` is; `None` if there is no such member.
    pub(crate) fn member_type_is_pointer(&self, name: &str, path: &str) -> Option<bool> {
        Some(self.member(name, path).ok()?.shape == Shape::Pointer)
    }

    /// Id of the struct or union with this name; the first one if there are several.
    pub(crate) fn struct_id(&self, name: &str) -> Option<u32> {
        let first = self.composites(name).next()?;
        Some(first.id)
    }

    /// Size in bytes of a struct or union, or of a typedef of one. All definitions of the name must agree.
    pub(crate) fn struct_size(&self, name: &str) -> Option<u32> {
        let mut sizes = self.composites(name).map(|ty| ty.size_or_id);
        let first = sizes.next()?;
        sizes.all(|size| size == first).then_some(first)
    }

    /// The structs and unions with this name, and those that typedefs with this name stand for.
    fn composites(&self, name: &str) -> impl Iterator<Item = Type<'_>> {
        self.named(name)
            .filter(|ty| ty.kind().is_composite() || ty.kind() == Kind::TYPEDEF)
            .filter_map(|ty| self.resolve(ty.id))
            .filter(|ty| ty.kind().is_composite())
    }
}

impl Walk<'_> {
    fn step(&mut self) -> Result<(), LookupError> {
        self.budget = self.budget.checked_sub(1).ok_or_else(|| self.endless())?;
        Ok(())
    }

    fn follow(&mut self, root: Type<'_>, path: &str) -> Result<Member, LookupError> {
        let mut at = root;
        let mut bits = 0u32;
        let mut components = path.split('.').peekable();
        while let Some(component) = components.next() {
            let found = self
                .find(at, component.as_bytes(), 0)?
                .ok_or_else(|| LookupError::NoMember { name: self.name.into(), member: component.into() })?;
            bits = bits.saturating_add(found.bit_offset);
            if components.peek().is_none() {
                return Ok(Member {
                    bit_offset: bits,
                    bit_field: found.bit_field,
                    shape: self.btf.shape(found.type_id),
                    size: self.btf.size_of(found.type_id),
                });
            }
            at = self.btf.element(found.type_id).filter(|ty| ty.kind().is_composite()).ok_or_else(|| {
                LookupError::NotComposite { name: self.name.into(), member: component.into() }
            })?;
        }
        // `split` yields at least one component, so this is not reached.
        Err(self.endless())
    }

    /// Looks up a member by name, including in anonymous members.
    fn find(&mut self, composite: Type<'_>, name: &[u8], nesting: u32) -> Result<Option<Found>, LookupError> {
        if nesting > MAX_NESTING {
            return Err(self.endless());
        }
        for record in composite.tail.chunks_exact(12) {
            self.step()?;
            let (Some(name_off), Some(type_id), Some(place)) =
                (u32_at(record, 0), u32_at(record, 4), u32_at(record, 8))
            else {
                continue;
            };
            let member_name = self.btf.string(name_off);
            if !member_name.is_empty() && member_name == name {
                return Ok(Some(self.place(&composite, type_id, place)));
            }
            if member_name.is_empty()
                && let Some(inner) = self.btf.resolve(type_id).filter(|ty| ty.kind().is_composite())
                && let Some(mut found) = self.find(inner, name, nesting + 1)?
            {
                let outer = self.place(&composite, type_id, place).bit_offset;
                found.bit_offset = found.bit_offset.saturating_add(outer);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The place of a member. Bit fields are marked by the struct's flag or, in old BTF, by an odd integer type.
    fn place(&self, composite: &Type<'_>, type_id: u32, place: u32) -> Found {
        if composite.flag() {
            let width = place >> 24;
            return Found {
                bit_offset: place & 0x00ff_ffff,
                bit_field: (width != 0).then_some(width),
                type_id,
            };
        }
        let int = self.btf.resolve(type_id).filter(|ty| ty.kind() == Kind::INT);
        let encoding = int.and_then(|ty| Some((u32_at(ty.tail, 0)?, ty.size_or_id)));
        let (shift, width) = encoding
            .map(|(encoding, size)| (encoding >> 16 & 0xff, encoding & 0xff, size))
            .filter(|&(_, width, size)| width != size.saturating_mul(8))
            .map_or((0, None), |(shift, width, _)| (shift, Some(width)));
        Found { bit_offset: place.saturating_add(shift), bit_field: width, type_id }
    }

    fn endless(&self) -> LookupError {
        LookupError::Endless { name: self.name.into() }
    }
}
