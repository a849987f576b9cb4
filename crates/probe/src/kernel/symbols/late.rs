//! Symbols that come and go while the kernel runs: those of modules, BPF programs and trampolines. They are behind the kernel's
//! own in `/proc/kallsyms`, where nothing but reading what is in front of them leads to.
//!
//! The file is kept open where they begin: reading on from there costs what they cost (Linux: `kernel/kallsyms.c`, the place in
//! the file is that of the symbol to be read next). Coming there again costs the kernel nearly what a whole read does, and is
//! done ahead, when nobody waits for it.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

use super::Symbols;
use crate::kernel::root::{KernelRoot, MAX_FILE_LEN};

/// Bytes that are looked through at once for where they begin.
const CHUNK: usize = 1 << 16;

/// Reads them.
#[derive(Debug)]
pub struct LateSymbols {
    root: KernelRoot,
    /// Where they begin, once that is known: what is in front of them never changes.
    begin: Option<u64>,
    /// The file, read up to the end of the line in front of them.
    parked: Option<File>,
}

impl LateSymbols {
    /// Of the kernel with this `/proc`, whose own symbols end there, if that is [known](Symbols::late_from). Nothing is read yet.
    #[must_use]
    pub const fn new(root: KernelRoot, begin: Option<u64>) -> Self {
        Self { root, begin, parked: None }
    }

    /// Reads them as they are now.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(&mut self) -> io::Result<Symbols> {
        let parked = match self.parked.take() {
            Some(file) => Some(file),
            None => self.park()?,
        };
        if let Some(file) = parked {
            let mut text = Vec::new();
            file.take(MAX_FILE_LEN).read_to_end(&mut text)?;
            // Anything else is another file than it was.
            if let [b'\n', late @ ..] = text.as_slice() {
                return Ok(Symbols::parse(late));
            }
        }
        let (begin, text) = find(&mut self.open()?)?;
        self.begin = Some(begin);
        Ok(Symbols::parse(&text))
    }

    /// Does ahead what the next [`read`](Self::read) would begin with.
    pub fn prepare(&mut self) {
        if self.parked.is_none() {
            // The next read tells what is wrong.
            self.parked = self.park().ok().flatten();
        }
    }

    fn open(&self) -> io::Result<File> {
        File::open(self.root.proc.join("kallsyms"))
    }

    /// The file, at the end of the line in front of them; `None` while it is not known where that is.
    fn park(&self) -> io::Result<Option<File>> {
        let Some(end) = self.begin.and_then(|begin| begin.checked_sub(1)) else {
            return Ok(None);
        };
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Some(file))
    }
}

/// Where the first line with a module's name begins, and everything from there on.
fn find(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let mut chunk = vec![0; CHUNK];
    let (mut line, mut begin) = (Vec::new(), 0);
    let mut file = file.take(MAX_FILE_LEN);
    loop {
        let count = file.read(&mut chunk)?;
        line.extend_from_slice(&chunk[..count]);
        let first = line.iter().position(|&byte| byte == b'\t');
        let upto = first.unwrap_or(line.len());
        let lines = line[..upto].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        begin += lines as u64;
        line.drain(..lines);
        if first.is_some() || count == 0 {
            file.read_to_end(&mut line)?;
            return Ok((begin, line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "ffffffff81000000 T _stext\nffffffff81000010 T known\nffffffff81002000 T _etext\n";

    fn root(text: &str) -> (tempfile::TempDir, KernelRoot) {
        let proc = tempfile::tempdir().unwrap();
        std::fs::write(proc.path().join("kallsyms"), text).unwrap();
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        (proc, root)
    }

    fn name(late: &mut LateSymbols, address: u64) -> Option<String> {
        late.read().unwrap().symbolise(address).map(|symbol| symbol.to_string())
    }

    #[test]
    fn what_is_late_is_read_from_where_it_begins() {
        // The kernel's own are longer than what is looked through at once.
        let kernel = KERNEL.repeat(2000);
        let (proc, root) = root(&format!("{kernel}ffffffffc0000000 t old\t[a]\n"));
        let write = |late: &str| {
            std::fs::write(proc.path().join("kallsyms"), format!("{kernel}{late}")).unwrap();
        };
        let mut late = LateSymbols::new(root, None);
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004).as_deref(), Some("old+0x4 [a]"));
        assert_eq!(late.begin, Some(kernel.len() as u64));
        assert_eq!(name(&mut late, 0xffff_ffff_8100_0014), None, "the kernel's own are not among them");
        late.prepare();
        assert!(late.parked.is_some());
        write("ffffffffc0008000 t new\t[b]\nffffffffc0000000 t old\t[a]\n");
        assert_eq!(name(&mut late, 0xffff_ffff_c000_8004).as_deref(), Some("new+0x4 [b]"));
        assert!(late.parked.is_none());
        write("ffffffffc0009000 t third\t[c]\n");
        assert_eq!(name(&mut late, 0xffff_ffff_c000_9004).as_deref(), Some("third+0x4 [c]"), "not prepared");
    }

    #[test]
    fn where_they_begin_is_known_from_a_whole_read() {
        let (_proc, root) =
            root(&format!("{KERNEL}ffffffffc0000008 d data\t[a]\nffffffffc0000000 t old\t[a]\n"));
        let from = Symbols::read(&root).unwrap().late_from();
        assert_eq!(from, Some(KERNEL.len() as u64));
        let mut late = LateSymbols::new(root, from);
        late.prepare();
        assert!(late.parked.is_some());
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004).as_deref(), Some("old+0x4 [a]"));
    }

    #[test]
    fn a_kernel_without_modules_has_none_until_it_has() {
        let (proc, root) = root(KERNEL);
        let mut late = LateSymbols::new(root, None);
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004), None);
        late.prepare();
        std::fs::write(proc.path().join("kallsyms"), format!("{KERNEL}ffffffffc0000000 t new\t[a]\n"))
            .unwrap();
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004).as_deref(), Some("new+0x4 [a]"));
    }

    #[test]
    fn another_file_than_before_is_read_from_its_beginning() {
        let (proc, root) = root(&format!("{KERNEL}ffffffffc0000000 t old\t[a]\n"));
        let mut late = LateSymbols::new(root, None);
        late.read().unwrap();
        let other = format!("ffffffff81000000 T _text\n{KERNEL}ffffffffc0000000 t new\t[a]\n");
        std::fs::write(proc.path().join("kallsyms"), other).unwrap();
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004).as_deref(), Some("new+0x4 [a]"));
    }
}
