//! Names of kernel addresses, with those of modules that are loaded while tracing.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io,
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use p2p_trace_model::event::{Names, Symbolize};
use p2p_trace_probe::kernel::{
    KernelRoot,
    symbols::{Modules, Symbols},
};

/// Reading the symbols takes a while, and an address without a name may stay without one.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Addresses without a name that are looked up again when there can be new names.
const MAX_UNNAMED: usize = 4096;

/// The symbols of the running kernel.
#[derive(Debug)]
pub(crate) struct KernelSymbols {
    root: KernelRoot,
    symbols: RefCell<Symbols>,
    /// The modules that were loaded when the symbols were read; `None`: not known.
    modules: RefCell<Option<Modules>>,
    /// What was named. It outlives its module, unless another one comes to lie there.
    known: Names,
    /// Addresses that had no name yet when they were asked for.
    unnamed: RefCell<BTreeSet<u64>>,
    read_at: Cell<Option<Instant>>,
    /// They are read by a thread of its own.
    is_aside: bool,
    /// Where it will deliver what it reads now.
    reading: RefCell<Option<Receiver<Fresh>>>,
    /// How often that was taken over.
    generation: Cell<u64>,
}

/// The modules first: one that is loaded in between makes a difference the next time.
type Fresh = io::Result<(Modules, Symbols)>;

fn read(root: &KernelRoot) -> Fresh {
    Ok((Modules::read(root)?, Symbols::read(root)?))
}

impl KernelSymbols {
    /// Takes over symbols that were read from `root`. The first address without a name, or outside the kernel's own
    /// code, has them read again.
    pub(crate) fn new(root: KernelRoot, symbols: Symbols) -> Self {
        Self {
            root,
            symbols: RefCell::new(symbols),
            modules: RefCell::default(),
            known: Names::default(),
            unnamed: RefCell::default(),
            read_at: Cell::new(None),
            is_aside: false,
            reading: RefCell::default(),
            generation: Cell::new(0),
        }
    }

    fn find(&self, address: u64) -> Option<String> {
        self.symbols.borrow().symbolise(address).map(|symbol| symbol.to_string())
    }

    /// Reads the symbols again, unless that was done just now; true when it has.
    fn reload(&self) -> io::Result<bool> {
        let recent = |read_at: Instant| read_at.elapsed() < RELOAD_INTERVAL;
        if self.symbols.borrow().addresses_hidden() || self.read_at.get().is_some_and(recent) {
            return Ok(false);
        }
        let symbols = Symbols::read(&self.root);
        self.read_at.set(Some(Instant::now()));
        self.symbols.replace(symbols?);
        Ok(true)
    }

    /// Names again what lies in modules, and what had no name.
    fn rename(&self) {
        let symbols = self.symbols.borrow();
        let in_modules = self.known.all().into_iter().map(|(address, _)| address);
        let in_modules = in_modules.filter(|&address| !symbols.is_kernel_text(address));
        for address in in_modules.chain(self.unnamed.take()) {
            if let Some(symbol) = symbols.symbolise(address) {
                self.known.learn(address, symbol.to_string());
            }
        }
    }

    /// Reads the symbols again if other modules are loaded than when they were read: the address would be named after
    /// whatever module lay there, or in front of it.
    fn follow_modules(&self, address: u64) -> io::Result<()> {
        if self.symbols.borrow().addresses_hidden() || self.symbols.borrow().is_kernel_text(address) {
            return Ok(());
        }
        // The modules first: one that is loaded in between makes a difference the next time.
        let modules = Modules::read(&self.root)?;
        if self.modules.borrow().as_ref() == Some(&modules) {
            return Ok(());
        }
        self.read_at.set(None);
        self.reload()?;
        self.rename();
        self.modules.replace(Some(modules));
        Ok(())
    }

    /// The name, for which the symbols are read again where that can help.
    fn find_or_read(&self, address: u64) -> Option<String> {
        if let Err(error) = self.follow_modules(address) {
            tracing::warn!("cannot tell which modules are loaded: {error}");
            return None;
        }
        self.find(address).or_else(|| match self.reload() {
            Ok(true) => self.find(address),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!("cannot read the kernel's symbols again: {error}");
                None
            }
        })
    }
}

/// Reading aside.
impl KernelSymbols {
    /// Takes over what was read meanwhile.
    fn arrive(&self) {
        let fresh = match self.reading.borrow().as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(fresh)) => Some(fresh),
            Some(Err(TryRecvError::Disconnected)) => None,
        };
        self.reading.replace(None);
        match fresh {
            Some(Ok((modules, symbols))) => {
                self.symbols.replace(symbols);
                self.modules.replace(Some(modules));
                self.rename();
                self.generation.set(self.generation.get() + 1);
            }
            Some(Err(error)) => tracing::warn!("cannot read the kernel's symbols again: {error}"),
            None => tracing::warn!("the thread that reads the kernel's symbols panicked"),
        }
    }

    /// Has them read again, unless that was done just now.
    fn fetch(&self) {
        let recent = |read_at: Instant| read_at.elapsed() < RELOAD_INTERVAL;
        if self.symbols.borrow().addresses_hidden() || self.read_at.get().is_some_and(recent) {
            return;
        }
        self.read_at.set(Some(Instant::now()));
        let root = self.root.clone();
        let (sender, receiver) = mpsc::channel();
        let reading = move || {
            let begun = Instant::now();
            let fresh = read(&root);
            tracing::debug!("the kernel's symbols were read in {:?}", begun.elapsed());
            // Nobody waits for it at the end of a run.
            drop(sender.send(fresh));
        };
        match thread::Builder::new().name("symbols".to_owned()).spawn(reading) {
            Ok(_) => drop(self.reading.replace(Some(receiver))),
            Err(error) => tracing::warn!("cannot read the kernel's symbols again: {error}"),
        }
    }

    /// The name if it is known now. Others will be there later.
    fn find_now(&self, address: u64) -> Option<String> {
        self.arrive();
        let is_stable = self.symbols.borrow().is_kernel_text(address);
        if !is_stable && !self.symbols.borrow().addresses_hidden() {
            if self.reading.borrow().is_some() {
                return None;
            }
            let modules = Modules::read(&self.root)
                .inspect_err(|error| tracing::warn!("cannot tell which modules are loaded: {error}"))
                .ok()?;
            // Else the address would be named after whatever module lay there, or in front of it.
            if self.modules.borrow().as_ref() != Some(&modules) {
                self.fetch();
                return None;
            }
        }
        let found = self.find(address);
        if found.is_none() {
            self.fetch();
        }
        found
    }
}

impl Symbolize for KernelSymbols {
    fn never_wait(&mut self) {
        self.is_aside = true;
    }

    fn generation(&self) -> u64 {
        self.arrive();
        self.generation.get()
    }

    fn names(&self) -> Names {
        self.known.clone()
    }

    fn symbolize(&self, address: u64) -> Option<String> {
        if let Some(name) = self.known.symbolize(address) {
            return Some(name);
        }
        let name = if self.is_aside {
            let name = self.find_now(address);
            let mut unnamed = self.unnamed.borrow_mut();
            if name.is_none() && unnamed.len() < MAX_UNNAMED {
                unnamed.insert(address);
            }
            name
        } else {
            self.find_or_read(address)
        }?;
        self.known.learn(address, name.clone());
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_loaded_later_is_found_and_the_file_is_not_read_for_every_address() {
        let proc = tempfile::tempdir().unwrap();
        let file = proc.path().join("kallsyms");
        let kernel = "ffffffff81000000 T _stext\nffffffff81000010 T known\nffffffff81002000 T _etext\n";
        let load = |name: &str, address: &str| {
            let text = format!("{kernel}{address} t {name}\t[nvme]\n");
            std::fs::write(&file, text).unwrap();
        };
        std::fs::write(&file, kernel).unwrap();
        std::fs::write(proc.path().join("modules"), "").unwrap();
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        let symbols = Symbols::read(&root).unwrap();
        let names = KernelSymbols::new(root, symbols);
        load("nvme_alloc_queue", "ffffffffc0000000");
        assert_eq!(names.symbolize(0xffff_ffff_8100_0014).as_deref(), Some("known+0x4"));
        let found = names.symbolize(0xffff_ffff_c000_01a3);
        assert_eq!(found.as_deref(), Some("nvme_alloc_queue+0x1a3 [nvme]"));
        load("nvme_free_queue", "ffffffffc0a00000");
        assert_eq!(names.symbolize(0xffff_ffff_c0a0_0001), None, "not so soon");
        names.read_at.set(None);
        let found = names.symbolize(0xffff_ffff_c0a0_0001);
        assert_eq!(found.as_deref(), Some("nvme_free_queue+0x1 [nvme]"));
    }

    #[test]
    fn an_address_is_not_named_after_a_module_that_lies_in_front_of_a_newer_one() {
        let proc = tempfile::tempdir().unwrap();
        let write = |symbols: &str, modules: &str| {
            let kernel = "ffffffff81000000 T _stext\nffffffff81002000 T _etext\n";
            std::fs::write(proc.path().join("kallsyms"), format!("{kernel}{symbols}")).unwrap();
            std::fs::write(proc.path().join("modules"), modules).unwrap();
        };
        let (old, new) = ("ffffffffc0000000 t old\t[a]\n", "ffffffffc0008000 t new\t[b]\n");
        let line = "a 16384 0 - Live 0xffffffffc0000000\n";
        write(old, line);
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        let names = KernelSymbols::new(root.clone(), Symbols::read(&root).unwrap());
        assert_eq!(names.symbolize(0xffff_ffff_c000_0010).as_deref(), Some("old+0x10 [a]"));
        let both = format!("b 16384 0 - Live 0xffffffffc0008000\n{line}");
        write(&format!("{old}{new}"), &both);
        assert_eq!(names.symbolize(0xffff_ffff_c000_8010).as_deref(), Some("new+0x10 [b]"));
        write("ffffffffc0000000 t third\t[c]\n", "c 16384 0 - Live 0xffffffffc0000000\n");
        assert_eq!(names.symbolize(0xffff_ffff_c000_0020).as_deref(), Some("third+0x20 [c]"));
        assert_eq!(
            names.symbolize(0xffff_ffff_c000_0010).as_deref(),
            Some("third+0x10 [c]"),
            "the name of the module that is gone was kept"
        );
    }

    #[test]
    fn whoever_does_not_wait_gets_the_name_of_a_new_module_when_it_has_been_read() {
        let proc = tempfile::tempdir().unwrap();
        let kernel = "ffffffff81000000 T _stext\nffffffff81000010 T known\nffffffff81002000 T _etext\n";
        std::fs::write(proc.path().join("kallsyms"), kernel).unwrap();
        std::fs::write(proc.path().join("modules"), "").unwrap();
        let root = KernelRoot { proc: proc.path().to_owned(), ..KernelRoot::default() };
        let mut names = KernelSymbols::new(root.clone(), Symbols::read(&root).unwrap());
        names.never_wait();
        let module = format!("{kernel}ffffffffc0000000 t new\t[b]\n");
        std::fs::write(proc.path().join("kallsyms"), module).unwrap();
        let line = "b 16384 0 - Live 0xffffffffc0000000\n";
        std::fs::write(proc.path().join("modules"), line).unwrap();
        assert_eq!(names.symbolize(0xffff_ffff_c000_0010), None, "it would have to wait");
        let kernel = names.symbolize(0xffff_ffff_8100_0014);
        assert_eq!(kernel.as_deref(), Some("known+0x4"), "meanwhile, too");
        while names.generation() == 0 {
            thread::yield_now();
        }
        let found = names.symbolize(0xffff_ffff_c000_0010);
        assert_eq!(found.as_deref(), Some("new+0x10 [b]"));
        assert_eq!(names.generation(), 1, "nothing was read for what is known");
    }
}
