//! Enumerators and their values.

use super::Btf;
use super::wire::{Kind, Type, u32_at};

impl Btf {
    /// The value of an enumerator of the enum `name`, which may be 32 or 64 bits wide.
    ///
    /// A value above `i64::MAX` in an unsigned 64-bit enum keeps its bits.
    pub(crate) fn enum_value(&self, name: &str, enumerator: &str) -> Option<i64> {
        self.named(name).filter(|ty| ty.kind().is_enum()).find_map(|ty| self.value_in(&ty, enumerator))
    }

    /// The value of an enumerator of any enum, named or unnamed. Scans all types, so use it for a few lookups only.
    ///
    /// If several enums have an enumerator of this name, they must agree on its value.
    pub(crate) fn enumerator(&self, enumerator: &str) -> Option<i64> {
        let mut values = (1..=self.index.len())
            .filter_map(|id| self.index.get(&self.data, id))
            .filter(|ty| ty.kind().is_enum())
            .filter_map(|ty| self.value_in(&ty, enumerator));
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }

    fn value_in(&self, ty: &Type<'_>, enumerator: &str) -> Option<i64> {
        let wide = ty.kind() == Kind::ENUM64;
        let record = ty.tail.chunks_exact(if wide { 12 } else { 8 }).find(|record| {
            u32_at(record, 0).is_some_and(|name| self.string(name) == enumerator.as_bytes())
        })?;
        let low = u32_at(record, 4)?;
        Some(if wide {
            (u64::from(u32_at(record, 8)?) << 32 | u64::from(low)) as i64
        } else if ty.flag() {
            i64::from(low as i32)
        } else {
            i64::from(low)
        })
    }
}
