//! Kernel addresses made unrecognisable, so that a dump does not tell where this kernel lies in memory.
//!
//! Every address is moved by an amount that only the recorder knew: code by some pages, all else by some GiB. Distances
//! stay, so that the rules come to the same. Addresses of one kind stay comparable within a run, and mean nothing
//! outside of it. Physical addresses, which the bus gives out, and those of user space are left as they are.

use std::hash::{BuildHasher as _, RandomState};

use p2p_trace_common::{Kind, Record, valid};
use p2p_trace_model::{
    event::{
        layout::{Layout, Word},
        words::{from_record, from_stack, to_record, to_stack},
    },
    stream::order::Item,
};

/// Where the kernel's half begins with four levels of page tables.
const KERNEL: u64 = 0xffff_8000_0000_0000;
/// The same with five. With four, nothing is between the two.
const KERNEL_OF_FIVE: u64 = 0xff00_0000_0000_0000;
/// Where its code and that of modules begins (Linux: `Documentation/arch/x86/x86_64/mm.rst`).
const CODE: u64 = 0xffff_ffff_8000_0000;
/// The bases of the direct map, of the vmemmap and of vmalloc are random multiples of this.
const GIB: u64 = 1 << 30;
/// The lowest of these regions begins so much above [`KERNEL`].
const ROOM: u64 = 1 << 43;
/// The same with five levels: so much above [`KERNEL_OF_FIVE`].
const ROOM_OF_FIVE: u64 = 1 << 52;

/// How far addresses are moved, downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redactor {
    data: u64,
    data_of_five: u64,
    code: u64,
}

impl Redactor {
    /// With amounts that nobody can guess.
    pub(crate) fn random() -> Self {
        // Its keys come from the operating system.
        let random = |number: u64| RandomState::new().hash_one(number);
        Self {
            data: (1 + random(0) % (ROOM / GIB - 1)) * GIB,
            data_of_five: (1 + random(2) % (ROOM_OF_FIVE / GIB - 1)) * GIB,
            code: (1 + random(1) % (1 << 20)) << 12,
        }
    }

    /// In place of an address.
    pub(crate) const fn address(self, address: u64) -> u64 {
        if address < KERNEL_OF_FIVE {
            address
        } else if address < KERNEL {
            down(address, KERNEL_OF_FIVE, KERNEL - KERNEL_OF_FIVE, self.data_of_five)
        } else if address < CODE {
            down(address, KERNEL, ROOM * 16, self.data)
        } else {
            address - self.code
        }
    }

    /// In place of a text: each address that it names, as `0x` and digits, is replaced.
    pub(crate) fn text(self, text: &str) -> String {
        let mut parts = text.split("0x");
        let mut redacted = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.find(|digit: char| !digit.is_ascii_hexdigit()).unwrap_or(part.len());
            let (number, rest) = part.split_at(digits);
            let replaced = match u64::from_str_radix(number, 16) {
                Ok(address) => format!("{:#x}{rest}", self.address(address)),
                Err(_) => format!("0x{part}"),
            };
            redacted.push_str(&replaced);
        }
        redacted
    }

    /// In place of an item.
    pub(crate) fn item(self, item: Item) -> Item {
        match item {
            Item::Record(record) => Item::Record(self.record(record)),
            Item::Loss(loss) => Item::Loss(loss),
        }
    }

    /// In place of a record.
    pub(crate) fn record(self, mut record: Record) -> Record {
        if record.kind() == Some(Kind::Stack) {
            let mut stack = to_stack(&from_record(&record));
            for frame in &mut stack.frames {
                *frame = self.address(*frame);
            }
            return to_record(&from_stack(&stack));
        }
        let Some(kind) = record.kind() else { return record };
        if record.has(valid::PGMAP) {
            record.pgmap = self.address(record.pgmap);
        }
        let layout = Layout::of(kind);
        for (value, meaning) in record.words.iter_mut().zip(layout.words) {
            if matches!(meaning, Word::Caller | Word::Addr | Word::Sgl | Word::Page)
                && record.valid & meaning.flag() != 0
            {
                *value = self.address(*value);
            }
        }
        record
    }
}

/// Moved down within the `size` bytes from `base` on; what falls out at the lower end comes in at the upper one.
const fn down(address: u64, base: u64, size: u64, amount: u64) -> u64 {
    base + (address - base + size - amount) % size
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::Hook;
    use proptest::prelude::*;

    use super::*;
    use p2p_trace_model::event::user;

    proptest! {
        #[test]
        fn distances_and_regions_stay_and_addresses_do_not(
            base in 0xffff_8880_0000_0000u64..0xffff_ff00_0000_0000, distance in 0u64..1 << 40,
        ) {
            let redactor = Redactor::random();
            let (near, far) = (redactor.address(base), redactor.address(base + distance));
            prop_assert_ne!(near, base);
            prop_assert_eq!(far - near, distance);
            prop_assert!(near >= KERNEL);
            prop_assert_eq!(near % GIB, base % GIB);
            let code = CODE + distance % (1 << 31);
            prop_assert_ne!(redactor.address(code), code);
            prop_assert_eq!(redactor.address(distance), distance, "user space");
        }
    }

    proptest! {
        #[test]
        fn five_levels_of_page_tables_hide_nothing(
            base in 0xff11_0000_0000_0000u64..0xffd5_0000_0000_0000, distance in 0u64..1 << 50,
        ) {
            let redactor = Redactor::random();
            let (near, far) = (redactor.address(base), redactor.address(base + distance));
            prop_assert_ne!(near, base);
            prop_assert_eq!(far - near, distance);
            prop_assert!(near >= KERNEL_OF_FIVE);
            prop_assert_eq!(near % GIB, base % GIB);
        }
    }

    #[test]
    fn addresses_in_words_are_replaced_and_nothing_else_is() {
        let redactor = Redactor::random();
        let moved = redactor.address(0xffff_8881_4000_0000);
        let text = "kill: cannot read what is taken of the pgmap at 0xffff888140000000, 0x10 of 0xzz";
        let expected = format!("kill: cannot read what is taken of the pgmap at {moved:#x}, 0x10 of 0xzz");
        assert_eq!(redactor.text(text), expected);
        assert_eq!(redactor.text("alloc: leaves out 0000:03:00.0"), "alloc: leaves out 0000:03:00.0");
    }

    #[test]
    fn what_is_not_an_address_of_the_kernel_is_left_alone() {
        let redactor = Redactor::random();
        let addr = 0xffff_8881_4000_0000;
        let alloc = Record {
            kind: Kind::Alloc as u8,
            hook: Hook::Alloc as u8,
            valid: valid::ADDR | valid::SIZE,
            words: [addr, 1 << 16, addr, addr],
            pgmap: addr,
            ..user::blank(1)
        };
        let redacted = redactor.record(alloc);
        let moved = redactor.address(addr);
        assert_eq!(redacted.words, [moved, 1 << 16, addr, addr], "what is not flagged is not there");
        assert_eq!(redacted.pgmap, addr);
        assert_eq!(redactor.record(Record { kind: 200, ..alloc }), Record { kind: 200, ..alloc });
    }
}
