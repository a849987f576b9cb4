//! Facts about the running kernel: its types, symbols and configuration, and the rights of this process.
//!
//! Each fact has a pure parser, and a thin layer that reads the file below a [`KernelRoot`].

pub mod accounting;
pub mod btf;
pub mod clock;
pub mod config;
pub mod cpus;
pub mod devices;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod lockdown;
pub mod patching;
mod realtime;
pub mod release;
pub mod rights;
mod root;
pub mod symbols;
pub mod tasks;
pub mod traceability;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

pub use root::KernelRoot;

use accounting::LossAccounting;
use btf::{Btf, BtfError};
use config::KernelConfig;
use devices::P2pDevice;
use lockdown::Lockdown;
use patching::Patching;
use release::Release;
use rights::Rights;
use symbols::Symbols;
use traceability::{Facts, Traceability, TypeSource};

/// A function that every kernel with peer-to-peer memory has.
const P2PDMA_FUNCTION: &str = "pci_alloc_p2pmem";

/// The collected facts of the running kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The release, as `uname -r` prints it.
    pub release: Release,
    /// The build configuration; all `unknown` if none was found.
    pub config: KernelConfig,
    /// The lockdown level.
    pub lockdown: Lockdown,
    /// The rights of this process.
    pub rights: Rights,
    /// Whether it is a real-time kernel.
    pub is_realtime: bool,
    /// Possible CPUs, counted as the highest index plus one.
    pub possible_cpus: Option<u32>,
    /// Devices that provide peer-to-peer memory now.
    pub devices: Vec<P2pDevice>,
    /// The functions, or why they are unknown.
    pub symbols: Result<Symbols, io::Error>,
    /// The types, or why they are unknown.
    pub btf: Result<Btf, BtfError>,
    /// The file that the types were read from.
    pub btf_path: PathBuf,
    /// Whether the kernel itself provides its types, which fentry requires.
    pub offers_btf: bool,
}

/// Not even the release of the kernel can be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: is /proc mounted?")]
pub struct KernelError {
    path: PathBuf,
}

impl Kernel {
    /// Reads all facts. The types come from `btf_file` if given, otherwise from the kernel.
    ///
    /// # Errors
    ///
    /// If the release cannot be read. Any other missing fact is recorded in its field.
    pub fn collect(root: &KernelRoot, btf_file: Option<&Path>) -> Result<Self, KernelError> {
        let release = Release::read(root)
            .ok_or_else(|| KernelError { path: root.proc.join("sys/kernel/osrelease") })?;
        let btf_path = btf_file.map_or_else(|| root.btf(), Path::to_owned);
        // The two slow reads run in parallel.
        let (symbols, btf) = thread::scope(|scope| {
            let symbols = scope.spawn(|| Symbols::read(root));
            let btf = if btf_file.is_some() { Btf::given(&btf_path) } else { Btf::read(&btf_path) };
            let panicked = |_panic| Err(io::Error::other("the thread that reads the symbols panicked"));
            (symbols.join().unwrap_or_else(panicked), btf)
        });
        let config = KernelConfig::read(root, &release);
        Ok(Self {
            is_realtime: realtime::is(root, &config),
            config,
            lockdown: Lockdown::read(root),
            rights: Rights::read(root),
            possible_cpus: cpus::count_possible(root).ok(),
            devices: devices::list(root),
            symbols,
            btf,
            offers_btf: root.btf().exists(),
            btf_path,
            release,
        })
    }

    /// Whether this kernel has peer-to-peer memory, by its functions; `None` if neither symbols nor types are readable.
    pub(crate) fn has_p2pdma(&self) -> Option<bool> {
        let by_symbol = self.symbols.as_ref().ok().map(|symbols| symbols.has(P2PDMA_FUNCTION));
        let by_type = self.btf.as_ref().ok().map(|btf| btf.func(P2PDMA_FUNCTION).is_some());
        match (by_symbol, by_type) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (by_symbol, by_type) => by_symbol.or(by_type),
        }
    }

    /// How exactly losses can be counted on this kernel.
    pub fn loss_accounting(&self) -> LossAccounting {
        LossAccounting::of(&self.release, self.btf.as_ref().ok())
    }

    /// Whether functions with fentry programs can be live-patched.
    pub fn patching(&self) -> Patching {
        Patching::of(&self.release, self.btf.as_ref().ok(), &self.config)
    }

    /// Whether this process can trace this kernel, and the problems that were found.
    pub fn traceability(&self) -> Traceability {
        Traceability::assess(&Facts {
            release: &self.release,
            p2pdma_option: self.config.setting("PCI_P2PDMA"),
            bpf_option: self.config.setting("BPF_SYSCALL"),
            kprobes_option: self.config.setting("KPROBE_EVENTS"),
            has_p2pdma: self.has_p2pdma(),
            is_realtime: self.is_realtime,
            has_fetch_add: self.loss_accounting().exact,
            patching: self.patching(),
            types: match &self.btf {
                Ok(_) if self.offers_btf => TypeSource::Kernel,
                Ok(_) => TypeSource::File,
                Err(error) => TypeSource::None(error.to_string()),
            },
            lockdown: self.lockdown,
            rights: &self.rights,
            addresses_hidden: self.symbols.as_ref().map_or(true, Symbols::addresses_hidden),
            possible_cpus: self.possible_cpus,
        })
    }
}
