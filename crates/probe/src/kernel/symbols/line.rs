//! One line of `/proc/kallsyms`.

/// Variables whose addresses are needed; symbols of other data are not kept.
const VARIABLES: [&[u8]; 4] =
    [b"vmemmap_base", b"page_offset_base", b"__per_cpu_offset", b"p2pdma_pgmap_ops"];

/// One line: `ffffffff9b8c3e40 T pci_alloc_p2pmem`, followed by `\t[module]` for modules.
pub(super) struct Line<'a> {
    pub(super) address: u64,
    pub(super) name: &'a str,
    pub(super) module: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// Parses a line; `None` also for symbols that are not kept.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let space = line.iter().position(|&byte| byte == b' ')?;
        let (digits, rest) = line.split_at(space);
        let [b' ', kind, b' ', rest @ ..] = rest else {
            return None;
        };
        let tab = rest.iter().position(|&byte| byte == b'\t').unwrap_or(rest.len());
        let (name, module) = rest.split_at(tab);
        let is_function = matches!(kind, b't' | b'T' | b'w' | b'W');
        // The padding before a function, which `__pfx_` names, is neither called nor returned to.
        let kept = if is_function { !name.starts_with(b"__pfx_") } else { is_variable(name) };
        if !kept || name.is_empty() || name.len() > usize::from(u16::MAX) {
            return None;
        }
        let module = std::str::from_utf8(module).ok()?.trim();
        Some(Self {
            address: parse_hex(digits)?,
            name: std::str::from_utf8(name).ok()?,
            module: module.strip_prefix('[').and_then(|module| module.strip_suffix(']')),
        })
    }
}

/// Whether the name is that of a kept variable. LTO appends a suffix to a static variable (`.llvm.1234`).
fn is_variable(name: &[u8]) -> bool {
    VARIABLES.iter().any(|variable| {
        name.strip_prefix(*variable).is_some_and(|suffix| suffix.is_empty() || suffix.starts_with(b"."))
    })
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |value: u64, &digit| Some(value << 4 | u64::from(char::from(digit).to_digit(16)?)))
}
