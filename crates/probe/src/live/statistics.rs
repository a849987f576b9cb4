//! Counts the instructions that the verifier follows, on kernels that do not keep the count (before 5.16). It appears only in the
//! log of a load, which the loader discards on success, so the programs are loaded once more, with the existing maps.

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{
    Object, ProgramSection,
    btf::BtfFeatures,
    generated::{bpf_attach_type, bpf_prog_type},
};

use super::attach::describe;
use super::sys::{self, Load};

/// The BTF features of Linux 5.10 to 5.15 that the object uses: functions, including global ones, and data sections.
const FEATURES: BtfFeatures = BtfFeatures::new(true, true, true, false, false, false, false, false);

/// The relocated object.
pub(super) struct Statistics {
    object: Object,
    types: OwnedFd,
}

impl Statistics {
    /// Relocates the calls and map references of `object`, which already has this kernel's values, against the maps of the loaded object.
    ///
    /// # Errors
    ///
    /// A message about what is wrong with the object, or what the kernel rejects.
    pub(super) fn new(object: &[u8], ebpf: &Ebpf) -> Result<Self, String> {
        let mut object = Object::parse(object).map_err(|error| describe(&error))?;
        let types = object
            .fixup_and_sanitize_btf(&FEATURES)
            .map_err(|error| describe(&error))?
            .map(aya_obj::btf::Btf::to_bytes)
            .ok_or("the object has no types")?;
        let types = sys::load_types(&types).map_err(|error| describe(&error))?;
        let sections: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
        let maps: Vec<_> = object.maps.drain().collect();
        let descriptors = maps.iter().filter_map(|(name, map)| {
            let descriptor = data(ebpf.map(name)?)?.fd().as_fd().as_raw_fd();
            Some((name.as_str(), descriptor, map))
        });
        object.relocate_maps(descriptors, &sections).map_err(|error| describe(&error))?;
        object.relocate_calls(&sections).map_err(|error| describe(&error))?;
        Ok(Self { object, types })
    }

    /// The instructions that the verifier follows in a program; `function` is the BTF id of a tracing program's target.
    pub(super) fn instructions(&self, name: &str, function: Option<u32>) -> Option<u32> {
        let program = self.object.programs.get(name)?;
        let (kind, attach) = match program.section {
            ProgramSection::FEntry { .. } => {
                (bpf_prog_type::BPF_PROG_TYPE_TRACING, Some((bpf_attach_type::BPF_TRACE_FENTRY, function?)))
            }
            ProgramSection::FExit { .. } => {
                (bpf_prog_type::BPF_PROG_TYPE_TRACING, Some((bpf_attach_type::BPF_TRACE_FEXIT, function?)))
            }
            _ => (bpf_prog_type::BPF_PROG_TYPE_KPROBE, None),
        };
        let log = sys::statistics(&Load {
            kind,
            attach,
            function: self.object.functions.get(&program.function_key())?,
            license: &program.license,
            types: self.types.as_fd(),
        });
        let log = log.inspect_err(|error| tracing::debug!("no statistics of {name}: {error}")).ok()?;
        processed(&log)
    }
}

/// The data of a map; `None` for kinds of maps that the kernel side does not have.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// Parses the number in `processed 123 insns (limit 1000000) …`.
fn processed(log: &str) -> Option<u32> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("processed "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processed_reads_the_last_line() {
        let log = "verification time 100 usec\nstack depth 184+0+32\n\
                   processed 4711 insns (limit 1000000) max_states_per_insn 4 total_states 3 peak_states 3 mark_read 1\n";
        assert_eq!(processed(log), Some(4711));
        assert_eq!(processed("processed\n"), None);
        assert_eq!(processed(""), None);
    }
}
