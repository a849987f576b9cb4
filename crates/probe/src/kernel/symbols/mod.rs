//! The kernel's symbols, from `/proc/kallsyms`: which functions there are, and what an address is called.

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

/// Marks, not functions, that share an address with the first function of their section.
const MARKS: [&str; 5] = ["_stext", "_text", "_etext", "_sinittext", "_einittext"];
/// Longer than any function: what lies further behind a module's last one belongs to nobody.
const MAX_FUNCTION_LEN: u64 = 64 << 10;

/// Takes the text as the list of modules.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &str) {
    std::hint::black_box(Modules::parse(text).new_since(&Modules::default()));
}

/// The functions of the kernel and its modules, and a few variables.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// All names, one behind the other.
    names: String,
    modules: Vec<String>,
    /// By address; where several share one, as in the file.
    entries: Vec<Entry>,
    by_name: Families,
    hidden: bool,
    /// Where in the file the kernel's own symbols end and those of modules begin, if there are any.
    late_from: Option<u64>,
    /// The kernel's own code.
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
    /// Its name.
    pub name: &'a str,
    /// Where it starts; `None` where addresses are hidden.
    pub address: Option<u64>,
    /// The module it is in.
    pub module: Option<&'a str>,
}

/// An address, as a place in a function: `nvme_alloc_queue+0x1a3 [nvme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The function.
    pub name: Text,
    /// Bytes from its start.
    pub offset: u64,
    /// The module it is in.
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

/// Where the lines with a module's name at the end of this begin: there are some in front of one that is kept.
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
    /// Reads `/proc/kallsyms` as it is now; modules loaded later are not in it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(root: &KernelRoot) -> io::Result<Self> {
        Ok(Self::parse(&read(&root.proc.join("kallsyms"))?))
    }

    /// Takes the text of `/proc/kallsyms`. Lines that are none of its are skipped.
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

    /// Where in the file the symbols of modules begin; `None` where it has none.
    pub const fn late_from(&self) -> Option<u64> {
        self.late_from
    }

    /// Whether the kernel shows all addresses as zero: it takes `CAP_SYSLOG` and `kptr_restrict` below 2 to see them.
    pub const fn addresses_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether there is a function of exactly this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.functions(name).next().is_some()
    }

    /// The functions of exactly this name. Static functions may share one; a kprobe by name is refused for those.
    pub(crate) fn functions(&self, name: &str) -> impl Iterator<Item = Function<'_>> {
        self.family(name).filter(move |function| function.name == name)
    }

    /// The compiler's variants of a function: `name.isra.0`, `name.constprop.0`, `name.part.0`, `name.cold`.
    ///
    /// None of them can stand for the function: their arguments, or the part of the body, are others.
    pub(crate) fn variants(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}.");
        let names = self.family(name).map(|function| function.name);
        let mut variants: Vec<_> = names.filter(|found| found.starts_with(&prefix)).collect();
        variants.sort_unstable();
        variants
    }

    /// All symbols of the family of `name`, by address, and perhaps some others.
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

    /// The address of a function, of `_stext` and its kin, or of the variables `vmemmap_base`, `page_offset_base` and
    /// `__per_cpu_offset`. `None` where there is none or addresses are hidden.
    ///
    /// The variables are missing on kernels without `CONFIG_KALLSYMS_ALL`; the first two also without
    /// `CONFIG_DYNAMIC_MEMORY_LAYOUT`.
    pub(crate) fn address_of(&self, name: &str) -> Option<u64> {
        self.functions(name).next()?.address
    }

    /// The address of a static variable of the kernel itself, whatever suffix it carries; `None` where there is none or more than one,
    /// or addresses are hidden.
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

    /// Whether the address lies in the kernel's own code, which stays what it is; false where addresses are hidden.
    pub fn is_kernel_text(&self, address: u64) -> bool {
        self.text.iter().any(|range| range.contains(&address))
    }

    fn find_text(&self) -> Vec<Range<u64>> {
        [("_stext", "_etext"), ("_sinittext", "_einittext")]
            .into_iter()
            .filter_map(|(start, end)| Some(self.address_of(start)?..self.address_of(end)?))
            .collect()
    }

    /// The place in a function that an address is; `None` for data, for what belongs to nobody, and where addresses are hidden.
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
