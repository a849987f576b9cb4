//! The loaded modules and their addresses, from `/proc/modules`.

use std::{io, ops::Range};

use crate::kernel::root::{KernelRoot, read};

/// The loaded modules at one time, for comparison with another time.
#[derive(Clone, Debug, Default)]
pub struct Modules(Vec<Module>);

/// A loaded module.
#[derive(Clone, Debug)]
struct Module {
    name: String,
    address: u64,
    /// Size in bytes; on older kernels it includes memory that is used only while the module is loaded.
    size: u64,
}

/// Ignores the size, since it shrinks once a module is loaded.
impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.address) == (&other.name, other.address)
    }
}

impl Modules {
    /// Reads the current `/proc/modules`. A kernel without module support has no modules.
    ///
    /// # Errors
    ///
    /// If the file exists and cannot be read.
    pub fn read(root: &KernelRoot) -> io::Result<Self> {
        match read(&root.proc.join("modules")) {
            Ok(text) => Ok(Self::parse(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Parses name, size and address of each line. Between them are the users, which change all the time, and the state.
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

    /// The address ranges of modules that were not loaded before.
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
    fn ignores_users_and_a_shrinking_size() {
        let loading = NVME.replace("57344 2 -", "61440 3 x,");
        assert!(new(NVME, &loading).is_empty());
        assert!(new(NVME, &NVME.replace('\n', " (OE)\n")).is_empty());
    }

    #[test]
    fn a_new_name_or_address_is_a_new_module() {
        for before in ["", &NVME.replace("c04", "c05"), &NVME.replace("nvme", "nvmet")] {
            let [place] = <[_; 1]>::try_from(new(NVME, before)).unwrap();
            assert_eq!(place, 0xffff_ffff_c040_0000..0xffff_ffff_c040_e000);
        }
        assert!(new("", NVME).is_empty(), "an unloaded module has no address");
    }

    #[test]
    fn missing_file_means_no_modules() {
        let proc = tempfile::tempdir().unwrap();
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        assert!(Modules::read(&root).unwrap().0.is_empty());
    }
}
