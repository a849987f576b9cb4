//! Loads the object, and finds its maps and the programs that user space runs itself.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapFd},
    programs::RawTracePoint,
};
use p2p_trace_common::{Config, config::MISSING};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::attach::describe;
use super::{
    armed_table,
    crash_image::{self, CrashImageMap},
    error::ProbeError,
    mapping::{Arrays, MapFds},
    object, refusal,
    relocate::relocate,
    setup::Features,
    statements, sys,
};
use crate::rings::RingPlan;

/// The configuration as the bytes that go into the object.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Globals(Config);

// SAFETY: plain data without padding (asserted where it is defined).
unsafe impl aya::Pod for Globals {}

/// A random id for the run.
pub(super) fn random_run() -> Result<u64, ProbeError> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| ProbeError::Read { path: "/dev/urandom", source })?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Before 5.11 maps count against the limit on locked memory. If the limit cannot be raised, creating the maps fails and reports
/// that.
fn lift_memory_limit() {
    let maximum = getrlimit(Resource::Memlock).maximum;
    let unlimited = Rlimit { current: None, maximum: None };
    let lifted = setrlimit(Resource::Memlock, unlimited)
        .or_else(|_| setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum }));
    if let Err(error) = lifted {
        tracing::debug!("cannot raise the limit on locked memory: {error}");
    }
}

/// Loads the object for a kernel with these features.
pub(super) fn load(config: &Config, rings: &RingPlan, features: Features) -> Result<Ebpf, ProbeError> {
    lift_memory_limit();
    let globals = Globals(*config);
    let level = config.log_level as u8;
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global("CONFIG", &globals, true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries("HOT", rings.count * rings.slots[0])
        .map_max_entries("RARE", rings.count * rings.slots[1])
        .map_max_entries("COUNTERS", rings.count)
        .map_max_entries("BURSTS", rings.cpus);
    loader.load(&relocated(config, features)).map_err(|error| ProbeError::Load(describe(&error).into()))
}

/// The object, relocated for a kernel with these features.
pub(super) fn relocated(config: &Config, features: Features) -> Vec<u8> {
    let mut object = relocate(object::bytes(features.fetch_add), config, features.cast);
    statements::omit(&mut object, config.log_level);
    object
}

fn map_data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData, ProbeError> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(ProbeError::Load(format!("the object has no array {name}").into())),
    }
}

/// The file descriptor of an array.
pub(super) fn map_descriptor<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapFd, ProbeError> {
    map_data(ebpf, name).map(MapData::fd)
}

/// Maps the transport's arrays.
pub(super) fn map_arrays(ebpf: &Ebpf, run: u64, rings: &RingPlan) -> Result<Arrays, ProbeError> {
    let data = |name| map_data(ebpf, name).map(MapData::fd);
    let maps =
        MapFds { rings: [data("HOT")?, data("RARE")?], counters: data("COUNTERS")?, open: data("OPEN")? };
    crash_image::tag_counters(maps.counters, run, rings).map_err(ProbeError::system("mark the counters"))?;
    Arrays::new(&maps, rings).map_err(ProbeError::system("map the rings"))
}

/// Maps the table of ranges that the armed hooks compare with.
pub(super) fn map_armed(ebpf: &Ebpf) -> Result<armed_table::Table, ProbeError> {
    let map = map_descriptor(ebpf, "ARMED")?;
    armed_table::Table::new(map).map_err(ProbeError::system("map the table of the armed hooks"))
}

/// Maps the arrays that extend the rings in a memory dump.
pub(super) fn map_crash_image(ebpf: &Ebpf, config: &Config) -> Result<CrashImageMap, ProbeError> {
    let [user, images] = [map_descriptor(ebpf, "USER")?, map_descriptor(ebpf, "CRASH_IMAGE")?];
    CrashImageMap::new(user, images, config.run).map_err(ProbeError::system("map the crash image"))
}

/// Moves a map out of the object.
pub(super) fn take_map<T>(ebpf: &mut Ebpf, name: &str) -> Result<T, ProbeError>
where
    T: TryFrom<Map>,
    T::Error: std::fmt::Display,
{
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| ProbeError::Load(format!("the object has no map {name}").into()))?;
    T::try_from(map).map_err(|error| ProbeError::Load(format!("map {name}: {error}").into()))
}

/// Loads a program that is run by user space, and never attached.
pub(super) fn load_helper(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, ProbeError> {
    let missing = || ProbeError::Load(format!("the object has no program {name}").into());
    let program: &mut RawTracePoint =
        ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|error| load_error(name, &error))?;
    program.load().map_err(|error| ProbeError::Load(refusal::load_error(name, &error).into()))?;
    let descriptor =
        ebpf.program(name).ok_or_else(missing)?.fd().map_err(|error| load_error(name, &error))?;
    descriptor.as_fd().try_clone_to_owned().map_err(ProbeError::system("duplicate a program's descriptor"))
}

fn load_error(name: &str, error: &aya::programs::ProgramError) -> ProbeError {
    ProbeError::Load(format!("{name}: {}", describe(error)).into())
}

/// The start of the page array and the size of a `struct page`, if both can be known.
pub(super) fn vmemmap(ebpf: &mut Ebpf, config: &Config) -> Result<Option<(u64, u64)>, ProbeError> {
    if config.vmemmap_base == 0 || config.layout.page_size == MISSING {
        return Ok(None);
    }
    let program = load_helper(ebpf, "read_facts")?;
    sys::run_once(program.as_fd()).map_err(ProbeError::system("read the kernel's page array"))?;
    let facts: Array<_, u64> = take_map(ebpf, "FACTS")?;
    let base = facts.get(&0, 0).unwrap_or(0);
    Ok((base != 0).then_some((base, u64::from(config.layout.page_size))))
}
