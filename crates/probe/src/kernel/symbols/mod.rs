//! The kernel's symbols, from `/proc/kallsyms`: the functions that exist, and the names of addresses.

#![forbid(unsafe_code)]

mod families;
mod late;
mod line;
mod modules;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, io, ops::Range};

use families::Families;
pub use late::LateSymbols;
use line::Line;
pub use modules::Modules;
use p2p_trace_model::text::Text;

use super::root::{KernelRoot, read};

/// Section markers, which are not functions, but share an address with the first function of their section.
const MARKS: [&str; 5] = ["_stext", "_text", "_etext", "_sinittext", "_einittext"];
/// More than the length of any function: an address further behind a module's last function has no name.
const MAX_FUNCTION_LEN: u64 = 64 << 10;

/// Parses the text as the list of modules.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &str) {
    std::hint::black_box(Modules::parse(text).new_since(&Modules::default()));
}

/// The functions of the kernel and its modules, and a few variables.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// All names, concatenated.
    names: String,
    modules: Vec<String>,
    /// Sorted by address; entries with the same address are in file order.
    entries: Vec<Entry>,
    by_name: Families,
    hidden: bool,
    /// Offset in the file where the kernel's own symbols end and those of modules begin, if there are any.
    late_from: Option<u64>,
    /// Address ranges of the kernel's own code.
    text: Vec<Range<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    name: u32,
    len: u16,
    /// Position in `modules` plus one; 0 for the kernel itself.
    module: u16,
}

/// A function found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function<'a> {
    /// The name.
    pub name: &'a str,
    /// The start address; `None` if addresses are hidden.
    pub address: Option<u64>,
    /// The module of the function.
    pub module: Option<&'a str>,
}

/// A position in a function, as the name of an address: `nvme_alloc_queue+0x1a3 [nvme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The function.
    pub name: Text,
    /// Bytes from the start of the function.
    pub offset: u64,
    /// The module of the function.
    pub module: Option<Text>,
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

/// Where the trailing lines with a module name begin; some of them may precede the first one that is kept.
fn late_from(text: &[u8]) -> u64 {
    let mut begin = text.len();
    for line in text.rsplit(|&byte| byte == b'\n').skip_while(|line| line.is_empty()) {
        if !line.contains(&b'\t') {
            break;
        }
        begin = begin.saturating_sub(line.len() + 1);
    }
    begin as u64
}

impl Symbols {
    /// Reads the current `/proc/kallsyms`; modules loaded later are missing.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(root: &KernelRoot) -> io::Result<Self> {
        Ok(Self::parse(&read(&root.proc.join("kallsyms"))?))
    }

    /// Parses the text of `/proc/kallsyms`. Skips invalid lines.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut symbols = Self::default();
        let mut modules = HashMap::new();
        let mut behind = 0;
        for line in text.split(|&byte| byte == b'\n') {
            behind += line.len() + 1;
            if let Some(line) = Line::parse(line) {
                symbols.push(&line, &mut modules);
                if line.module.is_some() && symbols.late_from.is_none() {
                    symbols.late_from = Some(late_from(&text[..behind.min(text.len())]));
                }
            }
        }
        symbols.entries.sort_by_key(|entry| entry.address);
        symbols.hidden = symbols.entries.last().is_some_and(|entry| entry.address == 0);
        symbols.by_name = Families::of(symbols.entries.iter().map(|entry| symbols.name(entry)));
        symbols.text = symbols.find_text();
        symbols
    }

    fn push<'a>(&mut self, line: &Line<'a>, modules: &mut HashMap<&'a str, u16>) {
        let module = match line.module {
            None => 0,
            Some(module) => *modules.entry(module).or_insert_with(|| {
                self.modules.push(module.to_owned());
                self.modules.len() as u16
            }),
        };
        self.entries.push(Entry {
            address: line.address,
            name: self.names.len() as u32,
            len: line.name.len() as u16,
            module,
        });
        self.names.push_str(line.name);
    }

    /// Offset in the file where the symbols of modules begin; `None` if there are none.
    pub const fn late_from(&self) -> Option<u64> {
        self.late_from
    }

    /// Whether the kernel shows all addresses as zero. Seeing them requires `CAP_SYSLOG` and `kptr_restrict` below 2.
    pub const fn addresses_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether there is a function with exactly this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.functions(name).next().is_some()
    }

    /// The functions with exactly this name. Static functions may share a name; a kprobe by name is rejected for those.
    pub(crate) fn functions(&self, name: &str) -> impl Iterator<Item = Function<'_>> {
        self.family(name).filter(move |function| function.name == name)
    }

    /// The compiler's variants of a function: `name.isra.0`, `name.constprop.0`, `name.part.0`, `name.cold`.
    ///
    /// None of them can replace the function: their arguments differ, or they contain only part of its body.
    pub(crate) fn variants(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}.");
        let names = self.family(name).map(|function| function.name);
        let mut variants: Vec<_> = names.filter(|found| found.starts_with(&prefix)).collect();
        variants.sort_unstable();
        variants
    }

    /// All symbols in the family of `name`, by address, possibly with some others.
    fn family(&self, name: &str) -> impl Iterator<Item = Function<'_>> {
        self.by_name
            .positions(name)
            .filter_map(|at| self.entries.get(at as usize))
            .map(|entry| self.function(entry))
    }

    fn function(&self, entry: &Entry) -> Function<'_> {
        Function {
            name: self.name(entry),
            address: (!self.hidden).then_some(entry.address),
            module: self.module(entry),
        }
    }

    /// The address of a function, of a section marker such as `_stext`, or of one of the variables `vmemmap_base`,
    /// `page_offset_base` and `__per_cpu_offset`. `None` if there is none or addresses are hidden.
    ///
    /// The variables are missing on kernels without `CONFIG_KALLSYMS_ALL`; the first two also without
    /// `CONFIG_DYNAMIC_MEMORY_LAYOUT`.
    pub(crate) fn address_of(&self, name: &str) -> Option<u64> {
        self.functions(name).next()?.address
    }

    /// The address of a static variable of the kernel itself, with any suffix; `None` if there is none or more than one, or
    /// addresses are hidden.
    pub(crate) fn address_of_static(&self, name: &str) -> Option<u64> {
        let is_it = |found: &Function<'_>| {
            let suffix = found.name.strip_prefix(name);
            found.module.is_none()
                && suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.'))
        };
        let mut found = self.family(name).filter(is_it);
        let first = found.next()?;
        if found.next().is_none() { first.address } else { None }
    }

    /// Whether the address lies in the kernel's own code, which does not change; false if addresses are hidden.
    pub fn is_kernel_text(&self, address: u64) -> bool {
        self.text.iter().any(|range| range.contains(&address))
    }

    fn find_text(&self) -> Vec<Range<u64>> {
        [("_stext", "_etext"), ("_sinittext", "_einittext")]
            .into_iter()
            .filter_map(|(start, end)| Some(self.address_of(start)?..self.address_of(end)?))
            .collect()
    }

    /// The function and offset of an address; `None` for data, for addresses outside of functions, and if addresses are hidden.
    pub fn symbolise(&self, address: u64) -> Option<Symbol> {
        if self.hidden {
            return None;
        }
        let behind = self.entries.partition_point(|entry| entry.address <= address);
        let last = self.entries.get(behind.checked_sub(1)?)?;
        let first = self.entries.partition_point(|entry| entry.address < last.address);
        let entry =
            self.entries.get(first..behind)?.iter().find(|entry| !MARKS.contains(&self.name(entry)))?;
        let offset = address - entry.address;
        let inside = if entry.module == 0 { self.is_kernel_text(address) } else { offset < MAX_FUNCTION_LEN };
        inside.then(|| Symbol {
            name: self.name(entry).into(),
            offset,
            module: self.module(entry).map(Into::into),
        })
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name as usize;
        self.names.get(start..start + usize::from(entry.len)).unwrap_or_default()
    }

    fn module(&self, entry: &Entry) -> Option<&str> {
        let at = usize::from(entry.module).checked_sub(1)?;
        self.modules.get(at).map(String::as_str)
    }
}
