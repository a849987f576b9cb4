//! Relocation: puts facts about the running kernel into the instructions of hot paths, see
//! [`marker`](p2p_trace_common::config::marker). The compiler leaves placeholder instructions, which are recognized by numbers
//! that it emits for nothing else.

use std::ptr;

use object::{Object as _, ObjectSection as _, SectionKind};
use p2p_trace_common::{
    Config,
    config::{Layout, MISSING, NO_ARG, marker},
};

use super::setup::Cast;

/// One instruction, laid out as `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    opcode: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    number: i32,
}

/// Bytes of an instruction.
const SIZE: usize = 8;
/// `BPF_ALU64 | BPF_ADD | BPF_K`.
const ADD: u8 = 0x07;
/// `BPF_LDX | BPF_MEM | BPF_DW`.
const LOAD: u8 = 0x79;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_ALU64 | BPF_MOV | BPF_K` and `BPF_X`.
const SET: u8 = 0xb7;
const MOVE: u8 = 0xbf;
/// `BPF_ALU64 | BPF_AND | BPF_K`.
const MASK: u8 = 0x57;
/// `BPF_ALU64 | BPF_MUL | BPF_K`.
const MULTIPLY: u8 = 0x27;
/// `BPF_PSEUDO_KFUNC_CALL` as source register: the number is the BTF id of a kernel function.
const KERNEL_FUNCTION: u8 = 2 << 4;
/// Source register 1, destination register 0.
const FIRST_ARGUMENT_TO_RESULT: u8 = 1 << 4;

/// Offsets of the argument registers in x86-64's `struct pt_regs`, in the order of the calling convention.
const REGISTERS: [i16; 6] = [112, 104, 96, 88, 72, 64];

impl Instruction {
    const fn read(bytes: [u8; SIZE]) -> Self {
        let word = u64::from_le_bytes(bytes);
        Self {
            opcode: word as u8,
            registers: (word >> 8) as u8,
            offset: (word >> 16) as i16,
            number: (word >> 32) as i32,
        }
    }

    const fn write(self) -> [u8; SIZE] {
        let word = self.opcode as u64
            | (self.registers as u64) << 8
            | (self.offset.cast_unsigned() as u64) << 16
            | (self.number.cast_unsigned() as u64) << 32;
        word.to_le_bytes()
    }

    /// An instruction that sets this one's destination register to 0.
    const fn zero(self) -> Self {
        Self { opcode: SET, registers: self.registers & 0xf, offset: 0, number: 0 }
    }

    /// The instruction for this kernel.
    fn relocated(self, config: &Config, members: &[u32], cast: Option<Cast>) -> Self {
        match (self.opcode, self.registers, self.offset, self.number) {
            (CALL, 0, 0, marker::CAST) => cast.map_or(
                Self { opcode: MOVE, registers: FIRST_ARGUMENT_TO_RESULT, offset: 0, number: 0 },
                |cast| Self { registers: KERNEL_FUNCTION, number: cast.function_id.cast_signed(), ..self },
            ),
            (ADD, _, 0, number) if (marker::MEMBER..marker::MEMBER + marker::MEMBERS).contains(&number) => {
                let offset = members.get((number - marker::MEMBER) as usize).copied();
                let offset = offset.filter(|&offset| offset != MISSING).unwrap_or(0);
                Self { number: offset.cast_signed(), ..self }
            }
            (ADD, _, 0, number) if (marker::FRAME..=marker::FRAME + 0xff).contains(&number) => {
                let count = config.arg_counts.get((number - marker::FRAME) as usize);
                Self {
                    // Skip the arguments, the result and the saved `rbp`.
                    number: 8 * (count.map_or(0, |&count| i32::from(count)) + 2),
                    ..self
                }
            }
            (SET | MASK | MULTIPLY, _, 0, number)
                if let Some(offset) = marker::offset_of(number, marker::SETTING, 4) =>
            {
                Self { number: setting(config, offset).cast_signed(), ..self }
            }
            (LOAD, _, marker::REGISTER.., 0) => {
                let place = position(config, self.offset - marker::REGISTER);
                let register = place.and_then(|place| REGISTERS.get(usize::from(place)));
                register.map_or_else(|| self.zero(), |&offset| Self { offset, ..self })
            }
            (LOAD, _, marker::ARGUMENT.., 0) => {
                let place = position(config, self.offset - marker::ARGUMENT);
                place.map_or_else(|| self.zero(), |place| Self { offset: i16::from(place) * 8, ..self })
            }
            _ => self,
        }
    }
}

/// As [`Instruction::relocated`], for an instruction that occupies two slots.
fn relocated_wide([first, second]: [Instruction; 2], config: &Config) -> [Instruction; 2] {
    let offset = marker::offset_of(first.number, marker::WIDE_SETTING, 8);
    let Some(offset) = offset.filter(|_| first.registers >> 4 == 0 && second.number == 0) else {
        return [first, second];
    };
    let [low, high] = [offset, offset + 4].map(|offset| setting(config, offset).cast_signed());
    [Instruction { number: low, ..first }, Instruction { number: high, ..second }]
}

/// The 32 bits of the configuration at an offset; 0 past its end.
fn setting(config: &Config, offset: usize) -> u32 {
    // SAFETY: a configuration has no padding (asserted where it is defined), so all its bytes are initialized.
    let bytes: &[u8; size_of::<Config>()] = unsafe { &*ptr::from_ref(config).cast() };
    let word = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

/// Position of an argument, or of the result, which follows the arguments; `None` if there is none.
fn position(config: &Config, number: i16) -> Option<u8> {
    let (hook, index) = marker::of_argument(number);
    let hook = hook? as usize;
    if index == marker::RESULT {
        return config.arg_counts.get(hook).copied();
    }
    let position = *config.args.get(hook)?.get(index)?;
    (position != NO_ARG).then_some(position)
}

/// Relocates the object for the kernel that `config` describes. An object that cannot be parsed is returned unchanged; the loader
/// reports the error.
pub(super) fn relocate(object: &[u8], config: &Config, cast: Option<Cast>) -> Vec<u8> {
    let mut relocated = object.to_vec();
    let members = members(&config.layout);
    let Ok(file) = object::File::parse(object) else {
        return relocated;
    };
    let code = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .filter_map(|section| section.file_range());
    for (start, size) in code {
        let Some(code) = relocated.get_mut(start as usize..(start + size) as usize) else {
            continue;
        };
        let (instructions, _) = code.as_chunks_mut::<SIZE>();
        let mut instructions = instructions.iter_mut();
        while let Some(instruction) = instructions.next() {
            let before = Instruction::read(*instruction);
            if before.opcode != WIDE {
                *instruction = before.relocated(config, &members, cast).write();
            } else if let Some(second) = instructions.next() {
                let halves = [before, Instruction::read(*second)];
                [*instruction, *second] = relocated_wide(halves, config).map(Instruction::write);
            }
        }
    }
    relocated
}

/// `BPF_LD | BPF_IMM | BPF_DW`, which occupies two slots.
const WIDE: u8 = 0x18;

/// The offsets of a layout, in declaration order.
fn members(layout: &Layout) -> [u32; size_of::<Layout>() / size_of::<u32>()] {
    // SAFETY: a layout consists only of this many `u32` fields, in declaration order.
    unsafe { std::mem::transmute(*layout) }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use ::object::{ObjectSymbol as _, RelocationTarget};
    use p2p_trace_common::Hook;

    use super::*;
    use crate::live::object;

    fn config() -> Config {
        let mut config = Config::EMPTY;
        config.args[Hook::Free as usize] = [0, 1, 2, NO_ARG];
        config.arg_counts[Hook::Free as usize] = 3;
        config.layout.pci_dev_devfn = 0x38;
        config
    }

    fn relocated(instruction: Instruction, cast: Option<Cast>) -> Instruction {
        let config = config();
        instruction.relocated(&config, &members(&config.layout), cast)
    }

    fn load(offset: i16) -> Instruction {
        Instruction { opcode: LOAD, registers: 0x12, offset, number: 0 }
    }

    #[test]
    fn loads_an_argument_from_its_position_or_zero() {
        let of_free = |index| marker::argument(Hook::Free as u8, index);
        assert_eq!(relocated(load(marker::ARGUMENT + of_free(2)), None), load(16));
        assert_eq!(relocated(load(marker::ARGUMENT + of_free(marker::RESULT)), None), load(24));
        assert_eq!(relocated(load(marker::REGISTER + of_free(0)), None), load(112));
        let none = relocated(load(marker::ARGUMENT + of_free(3)), None);
        assert_eq!(none.write(), [SET, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(relocated(load(24), None), load(24));
    }

    #[test]
    fn adds_the_offset_of_a_member() {
        let add = |number| Instruction { opcode: ADD, registers: 3, offset: 0, number };
        let devfn = marker::MEMBER + marker::member(offset_of!(Layout, pci_dev_devfn));
        assert_eq!(relocated(add(devfn), None), add(0x38));
        let bus = marker::MEMBER + marker::member(offset_of!(Layout, pci_dev_bus));
        assert_eq!(relocated(add(bus), None), add(0), "the member is missing, and its path is not executed");
        assert_eq!(relocated(add(marker::FRAME + Hook::Free as i32), None), add(40));
    }

    #[test]
    fn sets_a_setting_from_the_configuration() {
        let mut config = config();
        config.slots = [64, 32];
        config.run = 0x1122_3344_5566_7788;
        let set = |number| Instruction { opcode: SET, registers: 4, offset: 0, number };
        let rare = marker::setting(offset_of!(Config, slots) + 4);
        let members = members(&config.layout);
        assert_eq!(set(rare).relocated(&config, &members, None), set(32));
        for opcode in [MASK, MULTIPLY] {
            let with = |number| Instruction { opcode, ..set(number) };
            assert_eq!(with(rare).relocated(&config, &members, None), with(32));
        }
        assert_eq!(set(7).relocated(&config, &members, None), set(7));

        let wide = |low, high| {
            let second = Instruction::read([0, 0, 0, 0, 0, 0, 0, 0]);
            [Instruction { opcode: WIDE, ..set(low) }, Instruction { number: high, ..second }]
        };
        let run = marker::wide_setting(offset_of!(Config, run));
        assert_eq!(relocated_wide(wide(run, 0), &config), wide(0x5566_7788, 0x1122_3344));
        assert_eq!(relocated_wide(wide(run, 1), &config), wide(run, 1), "not a marker");
        let past_the_end = marker::WIDE_SETTING + (size_of::<Config>() / 8) as i32;
        assert_eq!(relocated_wide(wide(past_the_end, 0), &config), wide(past_the_end, 0));
    }

    #[test]
    fn a_cast_becomes_a_call_or_a_move() {
        let call = Instruction::read([CALL, 0, 0, 0, 0x43, 0x50, 0x32, 0x50]);
        let cast = Cast { function_id: 7, type_id: 9 };
        assert_eq!(relocated(call, Some(cast)).write(), [CALL, 0x20, 0, 0, 7, 0, 0, 0]);
        assert_eq!(relocated(call, None).write(), [MOVE, 0x10, 0, 0, 0, 0, 0, 0]);
    }

    /// The compiler may turn adjacent stores of zero into calls of a byte loop, which costs more than the rest of the event.
    #[test]
    fn hot_programs_call_no_byte_loops() {
        const HOT: [&str; 4] = ["alloc_fexit", "free_fentry", "alloc_kretprobe", "free_kprobe"];
        const LOOPS: [&str; 3] = ["memset", "memcpy", "memmove"];
        for object in [true, false].map(object::bytes) {
            let file = ::object::File::parse(object).unwrap();
            for name in HOT {
                let of_name = |symbol: &::object::Symbol<'_, '_>| symbol.name() == Ok(name);
                let program = file.symbols().find(of_name).unwrap();
                let section = program.section_index().unwrap();
                let code = program.address()..program.address() + program.size();
                assert!(!code.is_empty());
                let relocations = file.section_by_index(section).unwrap().relocations();
                for (_, relocation) in relocations.filter(|(at, _)| code.contains(at)) {
                    let RelocationTarget::Symbol(target) = relocation.target() else {
                        continue;
                    };
                    let target = file.symbol_by_index(target).unwrap();
                    let target = target.name().unwrap();
                    assert!(!LOOPS.contains(&target), "{name} calls {target}");
                }
            }
        }
    }

    #[test]
    fn relocating_twice_changes_nothing() {
        for fetch_add in [true, false] {
            let object = object::bytes(fetch_add);
            let once = relocate(object, &config(), None);
            assert!(once != object, "nothing was relocated");
            assert!(relocate(&once, &config(), None) == once);
        }
    }
}
