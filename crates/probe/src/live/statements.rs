//! Removes log statements that the selected level never emits from the object.
//!
//! The verifier detects that they are never executed, but only after it has walked through them: Linux 7.x follows possible stack
//! pointers through every function that a program calls before it looks at the first instruction. The statements are separate
//! functions, and make up half of most programs.

use std::ops::Range;

use aya_log::Level;
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, SectionIndex, SectionKind, SymbolIndex,
    SymbolKind,
    elf::{Rel64, SHT_REL},
    read::elf::{ElfFile64, SectionHeader as _},
};

/// The functions that emit a statement, by the end of their names, and the lowest level at which they do.
const STATEMENTS: [(&str, Level); 5] = [
    ("say_unread", Level::Warn),
    ("say_contended", Level::Warn),
    ("say_omitted", Level::Debug),
    ("say_passed_over", Level::Debug),
    ("say_armed", Level::Trace),
];

/// Bytes of an instruction.
const SIZE: u64 = 8;
/// `BPF_JMP | BPF_CALL` with `BPF_PSEUDO_CALL` as source register.
const CALL: [u8; 2] = [0x85, 0x10];
/// `r0 = 0`.
const NOTHING: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
/// An offset without an instruction: aya ignores a relocation with this offset.
const NOWHERE: u64 = u64::MAX;

type Elf<'data> = ElfFile64<'data, LittleEndian>;

/// A call of another function in the object.
struct Call {
    /// File offset of its instruction.
    instruction: usize,
    /// File offset of the `r_offset` field of its relocation; `None` if it has none.
    relocation: Option<usize>,
    /// Section of the called function, and the address in it.
    callee: (SectionIndex, u64),
}

/// Removes the statements that `level` (as in the configuration; 0 is none) never emits from `object`. An object that cannot be
/// parsed stays unchanged; the loader reports the error.
pub(super) fn omit(object: &mut [u8], level: u32) {
    let Ok(unneeded) = Elf::parse(&*object).map(|file| unneeded_calls(&file, level)) else {
        return;
    };
    for call in unneeded {
        write(object, call.instruction, NOTHING);
        if let Some(relocation) = call.relocation {
            write(object, relocation, NOWHERE.to_le_bytes());
        }
    }
}

fn write(object: &mut [u8], at: usize, bytes: [u8; 8]) {
    if let Some(place) = object.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(&bytes);
    }
}

/// The calls of statements that `level` never emits.
fn unneeded_calls(file: &Elf<'_>, level: u32) -> Vec<Call> {
    let is_unneeded = |name: &str| {
        STATEMENTS.iter().any(|&(statement, from)| from as u32 > level && name.ends_with(statement))
    };
    let statements: Vec<(SectionIndex, Range<u64>)> = file
        .symbols()
        .filter(|symbol| symbol.name().is_ok_and(is_unneeded))
        .filter_map(|symbol| {
            Some((symbol.section_index()?, symbol.address()..symbol.address() + symbol.size()))
        })
        .collect();
    let mut calls = relocated_calls(file);
    calls.extend(direct_calls(file, &calls));
    let is_in = |place: &(SectionIndex, Range<u64>), callee: &(SectionIndex, u64)| {
        place.0 == callee.0 && place.1.contains(&callee.1)
    };
    calls.retain(|call| statements.iter().any(|statement| is_in(statement, &call.callee)));
    calls
}

/// Calls whose target is given by a relocation.
fn relocated_calls(file: &Elf<'_>) -> Vec<Call> {
    let (endian, data) = (file.endian(), file.data());
    let mut calls = Vec::new();
    let relocations = file.elf_section_table().iter().filter(|section| section.sh_type(endian) == SHT_REL);
    for section in relocations {
        let Ok(Some((entries, _))) = section.rel(endian, data) else { continue };
        let of = SectionIndex(section.sh_info(endian) as usize);
        let entry_at =
            |index: usize| section.sh_offset(endian) as usize + index * size_of::<Rel64<LittleEndian>>();
        calls.extend(entries.iter().enumerate().filter_map(|(index, entry)| {
            let offset = entry.r_offset.get(endian);
            let (instruction, number) = call_at(file, of, offset)?;
            let symbol = file.symbol_by_index(SymbolIndex(entry.r_sym(endian) as usize)).ok()?;
            // If the symbol is the section, the instruction contains the position in it, encoded like the distance of a direct call.
            let within = if symbol.kind() == SymbolKind::Section { after(1, number) } else { 0 };
            let callee = (symbol.section_index()?, symbol.address() + within);
            Some(Call { instruction, relocation: Some(entry_at(index)), callee })
        }));
    }
    calls
}

/// Calls within a section, whose instruction contains the distance to the target.
fn direct_calls(file: &Elf<'_>, relocated: &[Call]) -> Vec<Call> {
    let of_section = |section: object::read::elf::ElfSection64<'_, '_, LittleEndian>| {
        let index = section.index();
        (0..section.size() / SIZE).filter_map(move |at| {
            let (instruction, number) = call_at(file, index, at * SIZE)?;
            Some(Call { instruction, relocation: None, callee: (index, after(at + 1, number)) })
        })
    };
    file.sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .flat_map(of_section)
        .filter(|call| relocated.iter().all(|other| other.instruction != call.instruction))
        .collect()
}

/// The call at an offset of a section: its file offset and its number. `None` if there is another instruction.
fn call_at(file: &Elf<'_>, section: SectionIndex, offset: u64) -> Option<(usize, i32)> {
    let section = file.section_by_index(section).ok()?;
    let (start, _) = section.file_range()?;
    let instruction: &[u8; 8] = section.data().ok()?.get(offset as usize..)?.first_chunk()?;
    let (code, number) = (instruction.first_chunk()?, instruction.last_chunk()?);
    (*code == CALL).then(|| ((start + offset) as usize, i32::from_le_bytes(*number)))
}

/// The address of the instruction `number` places after the one with the index `next`.
const fn after(next: u64, number: i32) -> u64 {
    next.wrapping_add_signed(number as i64).wrapping_mul(SIZE)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::live::object;

    /// The size of each program in instructions, including everything it calls, as aya passes it to the kernel.
    fn linked(object: &[u8]) -> Vec<(String, usize)> {
        let mut object = aya_obj::Object::parse(object).unwrap();
        let text: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
        object.relocate_calls(&text).unwrap();
        let size = |program: &aya_obj::Program| object.functions[&program.function_key()].instructions.len();
        let mut sizes: Vec<_> =
            object.programs.iter().map(|(name, program)| (name.clone(), size(program))).collect();
        sizes.sort();
        sizes
    }

    fn at(level: u32, fetch_add: bool) -> Vec<(String, usize)> {
        let mut object = object::bytes(fetch_add).to_vec();
        omit(&mut object, level);
        linked(&object)
    }

    #[test]
    fn omit_keeps_exactly_the_statements_of_the_level() {
        for fetch_add in [true, false] {
            let all = linked(object::bytes(fetch_add));
            assert_eq!(at(Level::Trace as u32, fetch_add), all);
            let total = |sizes: &[(String, usize)]| sizes.iter().map(|(_, size)| size).sum::<usize>();
            let levels = [0, Level::Warn as u32, Level::Debug as u32, Level::Trace as u32];
            let totals = levels.map(|level| total(&at(level, fetch_add)));
            assert!(totals.is_sorted_by(|less, more| less < more), "{totals:?}");
            let of = |sizes: &[(String, usize)], name: &str| {
                sizes.iter().find(|(found, _)| found == name).unwrap().1
            };
            let (with, without) = (of(&all, "drained_fentry"), of(&at(0, fetch_add), "drained_fentry"));
            assert!(without * 2 < with, "{without} of {with}");
        }
    }

    #[test]
    fn the_list_contains_all_statements_of_the_kernel_side() {
        for object in [true, false].map(object::bytes) {
            let file = Elf::parse(object).unwrap();
            let names = file.symbols().filter_map(|symbol| symbol.name().ok());
            let mut found: Vec<_> =
                names.filter_map(|name| name.find("say_").map(|at| &name[at..])).collect();
            found.sort_unstable();
            let mut known = STATEMENTS.map(|(name, _)| name);
            known.sort_unstable();
            assert_eq!(found, known);
        }
    }

    #[test]
    fn omit_leaves_other_files_unchanged() {
        let mut text = b"no object".to_vec();
        omit(&mut text, 0);
        assert_eq!(text, b"no object");
    }
}
