//! Symbols that change while the kernel runs: those of modules, BPF programs and trampolines. They follow the kernel's own
//! symbols in `/proc/kallsyms`, and can be reached only by reading those first.
//!
//! The file is kept open at the start of the late symbols, so that reading from there costs only as much as they do (Linux:
//! `kernel/kallsyms.c`, the position in the file is that of the symbol to be read next). Seeking there again costs the kernel
//! nearly as much as reading the complete file, so it is done in advance, when no caller is waiting.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

use super::Symbols;
use crate::kernel::root::{KernelRoot, MAX_FILE_LEN};

/// Bytes that are searched at a time for the start of the late symbols.
const CHUNK: usize = 1 << 16;

/// Reads the late symbols.
#[derive(Debug)]
pub struct LateSymbols {
    root: KernelRoot,
    /// Offset of the late symbols in the file, once known; the part before it never changes.
    begin: Option<u64>,
    /// The file, positioned at the end of the line before the late symbols.
    parked: Option<File>,
}

impl LateSymbols {
    /// A reader for the kernel with this `/proc`; `begin` is where its own symbols end, if that is [known](Symbols::late_from).
    /// Reads nothing yet.
    #[must_use]
    pub const fn new(root: KernelRoot, begin: Option<u64>) -> Self {
        Self { root, begin, parked: None }
    }

    /// Reads the current late symbols.
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
            // Any other content means that the file has changed before the late symbols.
            if let [b'\n', late @ ..] = text.as_slice() {
                return Ok(Symbols::parse(late));
            }
        }
        let (begin, text) = find(&mut self.open()?)?;
        self.begin = Some(begin);
        Ok(Symbols::parse(&text))
    }

    /// Seeks in advance, so that the next [`read`](Self::read) is fast.
    pub fn prepare(&mut self) {
        if self.parked.is_none() {
            // The next read reports the error.
            self.parked = self.park().ok().flatten();
        }
    }

    fn open(&self) -> io::Result<File> {
        File::open(self.root.proc.join("kallsyms"))
    }

    /// Opens the file at the end of the line before the late symbols; `None` while that position is unknown.
    fn park(&self) -> io::Result<Option<File>> {
        let Some(end) = self.begin.and_then(|begin| begin.checked_sub(1)) else {
            return Ok(None);
        };
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Some(file))
    }
}

/// The offset of the first line with a module name, and the text from there on.
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
    fn reads_from_the_start_of_the_late_symbols() {
        // The kernel's own symbols are longer than one chunk.
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
    fn a_complete_read_knows_where_late_symbols_begin() {
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
    fn finds_late_symbols_that_appear_after_the_first_read() {
        let (proc, root) = root(KERNEL);
        let mut late = LateSymbols::new(root, None);
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004), None);
        late.prepare();
        std::fs::write(proc.path().join("kallsyms"), format!("{KERNEL}ffffffffc0000000 t new\t[a]\n"))
            .unwrap();
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004).as_deref(), Some("new+0x4 [a]"));
    }

    #[test]
    fn reads_a_changed_file_from_its_start() {
        let (proc, root) = root(&format!("{KERNEL}ffffffffc0000000 t old\t[a]\n"));
        let mut late = LateSymbols::new(root, None);
        late.read().unwrap();
        let other = format!("ffffffff81000000 T _text\n{KERNEL}ffffffffc0000000 t new\t[a]\n");
        std::fs::write(proc.path().join("kallsyms"), other).unwrap();
        assert_eq!(name(&mut late, 0xffff_ffff_c000_0004).as_deref(), Some("new+0x4 [a]"));
    }
}
