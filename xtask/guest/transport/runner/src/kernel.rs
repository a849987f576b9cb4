//! The eBPF object, loaded with the transports' sizes.

use std::{
    any::Any,
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData},
    programs::Program,
};

use crate::sys::{self, Mapping};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TRANSPORT_OBJECT"));

pub const SLOT: usize = 128;

pub struct Kernel {
    pub bpf: Ebpf,
    pub btf: Btf,
    pub cpus: Mapping,
    pub slots: Mapping,
    pub per_cpu: u64,
    pub ncpu: usize,
}

/// One CPU's counters: the layout of `Cpu` on the eBPF side.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub head: u64,
    pub dropped: u64,
    pub nested: u64,
    pub hits: [u64; 12],
}

impl Kernel {
    /// Loads with `per_cpu` slots in the array and `ring` bytes in the ring buffer.
    pub fn load(per_cpu: u64, ring: u32, stall: u32) -> Result<Self> {
        let ncpu = sys::cpus();
        let btf = Btf::from_sys_fs()?;
        let offset = |m| sys::member_offset("task_struct", m);
        let (pid, tgid, comm) = (offset("pid")?, offset("tgid")?, offset("comm")?);
        let run = 0x1234_5678_9abc_def0u64;
        let bpf = EbpfLoader::new()
            .override_global("TASK_PID", &pid, true)
            .override_global("TASK_TGID", &tgid, true)
            .override_global("TASK_COMM", &comm, true)
            .override_global("RUN", &run, true)
            .override_global("STALL", &stall, true)
            .override_global("PER_CPU", &per_cpu, true)
            .map_max_entries("CPUS", ncpu as u32)
            .map_max_entries("SLOTS", ncpu as u32 * per_cpu as u32)
            .map_max_entries("RING", ring)
            .map_max_entries("RING2", ring)
            .load(OBJECT)?;
        let cpus = Mapping::new(map_fd(&bpf, "CPUS")?, ncpu * SLOT)?;
        let slots = Mapping::new(map_fd(&bpf, "SLOTS")?, ncpu * per_cpu as usize * SLOT)?;
        Ok(Self {
            bpf,
            btf,
            cpus,
            slots,
            per_cpu,
            ncpu,
        })
    }

    /// Loads and attaches a program; how follows from its name. Detached when the link is dropped.
    pub fn attach(&mut self, name: &str, function: &str) -> Result<Box<dyn Any>> {
        let program = self
            .bpf
            .program_mut(name)
            .with_context(|| format!("no program {name}"))?;
        Ok(match program {
            Program::FEntry(p) => {
                if p.fd().is_err() {
                    p.load(function, &self.btf)?;
                }
                let id = p.attach()?;
                Box::new(p.take_link(id)?)
            }
            Program::FExit(p) => {
                if p.fd().is_err() {
                    p.load(function, &self.btf)?;
                }
                let id = p.attach()?;
                Box::new(p.take_link(id)?)
            }
            Program::KProbe(p) => {
                if p.fd().is_err() {
                    p.load()?;
                }
                let id = p.attach(function, 0)?;
                Box::new(p.take_link(id)?)
            }
            _ => bail!("{name}: unexpected program type"),
        })
    }

    /// Runs skipped because the program was already running on that CPU.
    pub fn misses(&self, name: &str) -> u64 {
        let fd = self.bpf.program(name).and_then(|p| p.fd().ok());
        fd.map_or(0, |fd| sys::recursion_misses(fd.as_fd()))
    }

    pub fn counters(&self, cpu: usize) -> Counters {
        let at = |i: usize| self.cpus.word(cpu * SLOT + i * 8);
        Counters {
            head: at(0),
            dropped: at(1),
            nested: at(2),
            hits: std::array::from_fn(|i| at(4 + i)),
        }
    }

    pub fn head(&self, cpu: usize) -> u64 {
        self.cpus.word(cpu * SLOT)
    }
}

/// A map's file descriptor.
pub fn map_fd<'a>(bpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    let data: &MapData = match bpf.map(name).with_context(|| format!("no map {name}"))? {
        Map::Array(d) | Map::RingBuf(d) => d,
        _ => bail!("{name}: unexpected map type"),
    };
    Ok(data.fd().as_fd())
}
