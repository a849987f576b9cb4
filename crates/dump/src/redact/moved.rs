//! Moved addresses: each kind is moved by a distance that is secret to the run. Differences between addresses
//! and offsets within a page stay, so that the rules give the same answers; the addresses are meaningless
//! outside the run.

use super::keyed::Key;

/// Start of the kernel half with four levels of page tables.
pub(super) const KERNEL: u64 = 0xffff_8000_0000_0000;
/// Start of the kernel half with five levels. With four, the space between the two is empty.
pub(super) const KERNEL_OF_FIVE: u64 = 0xff00_0000_0000_0000;
/// Start of kernel and module code (Linux: `Documentation/arch/x86/x86_64/mm.rst`).
pub(super) const CODE: u64 = 0xffff_ffff_8000_0000;
/// The base of the vmemmap is a multiple of this, by which the model recognizes it.
pub(super) const GIB: u64 = 1 << 30;
/// Maximum distance for kernel addresses: the lowest of the kernel's regions begins this far above
/// [`KERNEL`].
const ROOM: u64 = 1 << 43;
/// As above with five levels, above [`KERNEL_OF_FIVE`].
const ROOM_OF_FIVE: u64 = 1 << 52;
/// Maximum distance for physical addresses, which have 52 bits.
const PHYSICAL: u64 = 1 << 45;
/// Distances are multiples of this, the largest page size for device memory.
const HUGE: u64 = 2 << 20;
/// Numbers below this are not addresses.
const NO_ADDRESS: u64 = 4096;
/// The size of the non-kernel half.
const LOWER_HALF: u64 = KERNEL_OF_FIVE - NO_ADDRESS;
/// Bytes of memory for each byte of a `struct page`.
const PER_PAGE_BYTE: u64 = 64;

/// Distances by which addresses are moved, by kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    data: u64,
    data_of_five: u64,
    code: u64,
    pages: u64,
    physical: u64,
    user: u64,
}

impl Moved {
    pub(super) fn by(key: &Key) -> Self {
        let steps = |which, room: u64, step: u64| (1 + key.amount(which) % (room / step - 1)) * step;
        let physical = steps(0, PHYSICAL, HUGE);
        Self {
            data: steps(1, ROOM, HUGE),
            data_of_five: steps(2, ROOM_OF_FIVE, HUGE),
            code: steps(3, 1 << 32, 1 << 12),
            // Together with the distance of physical addresses this moves the base of the vmemmap by full
            // GiB.
            pages: steps(4, ROOM, GIB) + GIB - physical / PER_PAGE_BYTE % GIB,
            physical,
            // Upwards, because these addresses are close to 0.
            user: LOWER_HALF - steps(5, 1 << 47, HUGE),
        }
    }

    /// Moves a virtual address.
    pub(super) const fn address(self, address: u64) -> u64 {
        if address < NO_ADDRESS {
            address
        } else if address < KERNEL_OF_FIVE {
            down(address, NO_ADDRESS, LOWER_HALF, self.user)
        } else if address < KERNEL {
            down(address, KERNEL_OF_FIVE, KERNEL - KERNEL_OF_FIVE, self.data_of_five)
        } else if address < CODE {
            down(address, KERNEL, 1 << 47, self.data)
        } else {
            address - self.code
        }
    }

    /// Moves the address of a `struct page`.
    pub(super) const fn page(self, address: u64) -> u64 {
        if address < KERNEL_OF_FIVE {
            self.address(address)
        } else if address < KERNEL {
            down(address, KERNEL_OF_FIVE, KERNEL - KERNEL_OF_FIVE, self.pages)
        } else {
            down(address, KERNEL, 1 << 47, self.pages)
        }
    }

    /// Moves a physical address.
    pub(super) const fn physical(self, address: u64) -> u64 {
        address.wrapping_add(self.physical)
    }

    /// Moves each address in a text, written as `0x` and digits.
    pub(super) fn text(self, text: &str) -> String {
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
}

/// Moves an address down within the `size` bytes from `base`, wrapping around.
const fn down(address: u64, base: u64, size: u64, amount: u64) -> u64 {
    let offset = address - base;
    base + if offset >= amount { offset - amount } else { offset + (size - amount) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moved() -> Moved {
        Moved::by(&Key::random())
    }

    proptest! {
        #[test]
        fn moves_addresses_within_regions_and_keeps_distances(
            base in 0xffff_8880_0000_0000u64..0xffff_ff00_0000_0000, distance in 0u64..1 << 40,
        ) {
            let moved = moved();
            let (near, far) = (moved.address(base), moved.address(base + distance));
            prop_assert_ne!(near, base);
            prop_assert_eq!(far - near, distance);
            prop_assert!(near >= KERNEL);
            prop_assert_eq!(near % HUGE, base % HUGE);
            let code = CODE + distance % (1 << 31);
            prop_assert_ne!(moved.address(code), code);
            prop_assert_eq!(moved.address(code) % 4096, code % 4096);
        }

        #[test]
        fn moves_addresses_with_five_levels_of_page_tables(
            base in 0xff11_0000_0000_0000u64..0xffd5_0000_0000_0000, distance in 0u64..1 << 50,
        ) {
            let moved = moved();
            let (near, far) = (moved.address(base), moved.address(base + distance));
            prop_assert_ne!(near, base);
            prop_assert_eq!(far - near, distance);
            prop_assert!(near >= KERNEL_OF_FIVE);
        }

        /// The model finds the base of the vmemmap as the only round number that fits.
        #[test]
        fn vmemmap_base_stays_round(
            gib in 0u64..1 << 12, physical in 0u64..1 << 46, five: bool,
        ) {
            let moved = moved();
            let base = if five { 0xffd4_0000_0000_0000 } else { 0xffff_ea00_0000_0000 } + gib * GIB;
            let page = base + physical / 4096 * 64;
            let found = moved.page(page) - moved.physical(physical) / 4096 * 64;
            prop_assert_eq!(found % GIB, 0);
            prop_assert_ne!(moved.page(page), page);
            prop_assert_ne!(moved.physical(physical), physical);
        }

        #[test]
        fn moves_user_addresses_but_not_small_numbers(address in 0x1_0000u64..1 << 47, small in 0..4096u64) {
            let moved = moved();
            prop_assert_ne!(moved.address(address), address);
            prop_assert_eq!(moved.address(address + 4096).wrapping_sub(moved.address(address)), 4096);
            prop_assert_eq!(moved.address(small), small);
        }
    }

    #[test]
    fn moves_only_addresses_in_text() {
        let moved = moved();
        let at = moved.address(0xffff_8881_4000_0000);
        let text = "kill: cannot read the allocated bytes of the pgmap at 0xffff888140000000, 0x10 of 0xzz";
        let expected = format!("kill: cannot read the allocated bytes of the pgmap at {at:#x}, 0x10 of 0xzz");
        assert_eq!(moved.text(text), expected);
        assert_eq!(moved.text("alloc: filters out 0000:03:00.0"), "alloc: filters out 0000:03:00.0");
    }
}
