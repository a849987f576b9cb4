//! Which modules are loaded and where, from `/proc/modules`.

use std::{io, ops::Range};

use crate::kernel::root::{KernelRoot, read};

/// The loaded modules, to be compared with those of another time.
#[derive(Clone, Debug, Default)]
pub struct Modules(Vec<Module>);

/// One of them.
#[derive(Clone, Debug)]
struct Module {
    name: String,
    address: u64,
    /// Bytes; with older kernels also those that are only needed while it is loaded.
    size: u64,
}

/// The size does not tell one from another: it shrinks once a module is loaded.
impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.address) == (&other.name, other.address)
    }
}

impl Modules {
    /// Reads `/proc/modules` as it is now. A kernel without modules has none.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read.
    pub fn read(root: &KernelRoot) -> io::Result<Self> {
        match read(&root.proc.join("modules")) {
            Ok(text) => Ok(Self::parse(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Takes name, size and address of each line; users and state come between them, and users change all the time.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?.to_owned();
            let size = words.next()?.parse().ok()?;
            let address = words.find_map(|word| word.strip_prefix("0x"))?;
            Some(Module { name, size, address: u64::from_str_radix(address, 16).ok()? })
        });
        Self(lines.collect())
    }

    /// Where those lie that were not there before.
    #[must_use]
    pub fn new_since(&self, before: &Self) -> Vec<Range<u64>> {
        let new = self.0.iter().filter(|module| !before.0.contains(module));
        new.map(|module| module.address..module.address.saturating_add(module.size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVME: &str = "nvme 57344 2 - Live 0xffffffffc0400000\n";

    fn new(now: &str, before: &str) -> Vec<Range<u64>> {
        Modules::parse(now).new_since(&Modules::parse(before))
    }

    #[test]
    fn users_and_a_size_that_shrinks_do_not_matter() {
        let loading = NVME.replace("57344 2 -", "61440 3 x,");
        assert!(new(NVME, &loading).is_empty());
        assert!(new(NVME, &NVME.replace('\n', " (OE)\n")).is_empty());
    }

    #[test]
    fn name_and_address_do() {
        for before in ["", &NVME.replace("c04", "c05"), &NVME.replace("nvme", "nvmet")] {
            let [place] = <[_; 1]>::try_from(new(NVME, before)).unwrap();
            assert_eq!(place, 0xffff_ffff_c040_0000..0xffff_ffff_c040_e000);
        }
        assert!(new("", NVME).is_empty(), "one that is gone is nowhere");
    }

    #[test]
    fn a_kernel_without_modules_has_none() {
        let proc = tempfile::tempdir().unwrap();
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        assert!(Modules::read(&root).unwrap().0.is_empty());
    }
}
