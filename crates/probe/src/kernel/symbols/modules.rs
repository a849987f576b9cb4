//! Which modules are loaded and where, from `/proc/modules`.

use std::io;

use crate::kernel::root::{KernelRoot, read};

/// The loaded modules and their addresses, to be compared with those of another time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules(Vec<(String, String)>);

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

    /// Takes name and address of each line; size, users and state come between them, and users change all the time.
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let address = words.find(|word| word.starts_with("0x"))?;
            Some((name.to_owned(), address.to_owned()))
        });
        Self(lines.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVME: &str = "nvme 57344 2 - Live 0xffffffffc0400000\n";

    #[test]
    fn users_do_not_matter() {
        let busy = NVME.replace("2 -", "3 x,");
        assert_eq!(Modules::parse(NVME), Modules::parse(&busy));
        assert_eq!(Modules::parse(NVME), Modules::parse(&NVME.replace('\n', " (OE)\n")));
    }

    #[test]
    fn name_and_address_do() {
        let modules = Modules::parse(NVME);
        assert_ne!(modules, Modules::default());
        assert_ne!(modules, Modules::parse(&NVME.replace("c04", "c05")));
        assert_ne!(modules, Modules::parse(&NVME.replace("nvme", "nvmet")));
    }

    #[test]
    fn a_kernel_without_modules_has_none() {
        let proc = tempfile::tempdir().unwrap();
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        assert_eq!(Modules::read(&root).unwrap(), Modules::default());
    }
}
