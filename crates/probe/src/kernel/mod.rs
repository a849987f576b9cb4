//! Facts of the running kernel: its types, symbols, configuration, and what this process may do with it.
//!
//! Each fact is a pure parser of bytes behind a thin edge that reads the file below a [`KernelRoot`].

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
    /// What `uname -r` says.
    pub release: Release,
    /// How it was built; all `unknown` where no configuration was found.
    pub config: KernelConfig,
    /// Its lockdown level.
    pub lockdown: Lockdown,
    /// What this process may do.
    pub rights: Rights,
    /// It is a real-time kernel.
    pub is_realtime: bool,
    /// Possible CPUs, counted as the highest index plus one.
    pub possible_cpus: Option<u32>,
    /// Devices that offer peer-to-peer memory now.
    pub devices: Vec<P2pDevice>,
    /// Its functions, or why they are not known.
    pub symbols: Result<Symbols, io::Error>,
    /// Its types, or why they are not known.
    pub btf: Result<Btf, BtfError>,
    /// The file that the types were looked for in.
    pub btf_path: PathBuf,
    /// Whether the kernel itself offers its types, which fentry takes.
    pub offers_btf: bool,
}

/// The facts cannot even be begun with.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: is /proc mounted?")]
pub struct KernelError {
    path: PathBuf,
}

impl Kernel {
    /// Reads all facts; the types from `btf_file` if one is given, else from the kernel.
    ///
    /// # Errors
    ///
    /// If not even the release can be read. Every other fact that is missing is so in its field.
    pub fn collect(root: &KernelRoot, btf_file: Option<&Path>) -> Result<Self, KernelError> {
        let release = Release::read(root)
            .ok_or_else(|| KernelError { path: root.proc.join("sys/kernel/osrelease") })?;
        let btf_path = btf_file.map_or_else(|| root.btf(), Path::to_owned);
        // The two that take long, side by side.
        let (symbols, btf) = thread::scope(|scope| {
            let symbols = scope.spawn(|| Symbols::read(root));
            let btf = if btf_file.is_some() { Btf::given(&btf_path) } else { Btf::read(&btf_path) };
            let panicked = |_panic| Err(io::Error::other("the thread that reads them panicked"));
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

    /// Whether this kernel has peer-to-peer memory, by its functions; `None` where neither symbols nor types are readable.
    pub(crate) fn has_p2pdma(&self) -> Option<bool> {
        let by_symbol = self.symbols.as_ref().ok().map(|symbols| symbols.has(P2PDMA_FUNCTION));
        let by_type = self.btf.as_ref().ok().map(|btf| btf.func(P2PDMA_FUNCTION).is_some());
        match (by_symbol, by_type) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (by_symbol, by_type) => by_symbol.or(by_type),
        }
    }

    /// How exactly losses can be counted here.
    pub fn loss_accounting(&self) -> LossAccounting {
        LossAccounting::of(&self.release, self.btf.as_ref().ok())
    }

    /// Whether its functions can be live-patched beside fentry.
    pub fn patching(&self) -> Patching {
        Patching::of(&self.release, self.btf.as_ref().ok(), &self.config)
    }

    /// Whether this kernel can be traced by this process, and what stands in the way.
    pub fn traceability(&self) -> Traceability {
        Traceability::judge(&Facts {
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
