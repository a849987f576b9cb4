//! Names of kernel addresses, including those of modules that are loaded while tracing.
//!
//! Names of the kernel's own code are known from the start. A separate thread looks up the others, and reads the symbols again
//! when modules were loaded. The thread that processes events therefore never waits for a file; an address in a module has no
//! name until the lookup is complete.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use p2p_trace_model::{
    event::{Names, Symbolize},
    text::Text,
};
use p2p_trace_probe::kernel::{
    KernelRoot,
    symbols::{LateSymbols, Modules, Symbols},
};

/// The shortest time between two reads of the symbols.
const RELOAD_INTERVAL: Duration = Duration::from_millis(250);
/// An address without a name is looked up again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// Addresses without a name that are remembered at most.
const MAX_UNNAMED: usize = 4096;

/// The symbols of the running kernel.
#[derive(Debug)]
pub(crate) struct KernelSymbols {
    /// The symbols at the start. They stay valid for the kernel's own code, which does not move.
    kernel: Arc<Symbols>,
    /// The names found so far. A name outlives its module, unless another module is loaded at its address.
    known: Names,
    /// When each of the other addresses was last requested.
    asked: RefCell<HashMap<u64, Instant>>,
    /// Requests to the lookup thread; `None` if addresses are hidden.
    requests: Option<Sender<u64>>,
    counts: Arc<Counts>,
}

/// Requests and answers so far.
#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl KernelSymbols {
    /// Uses symbols that were read from `root` after the list of `modules`.
    pub(crate) fn new(root: KernelRoot, symbols: Symbols, modules: Modules) -> Self {
        let kernel = Arc::new(symbols);
        let (known, counts) = (Names::default(), Arc::<Counts>::default());
        let requests = if kernel.addresses_hidden() {
            None
        } else {
            let lookup = Lookup::new(root, Arc::clone(&kernel), modules, known.clone());
            start(lookup, Arc::clone(&counts))
                .inspect_err(|error| tracing::warn!("cannot start the lookup of names in modules: {error}"))
                .ok()
        };
        Self { kernel, known, asked: RefCell::default(), requests, counts }
    }

    /// Requests a lookup, unless there was one just now.
    fn ask(&self, address: u64) {
        let Some(requests) = &self.requests else { return };
        let mut asked = self.asked.borrow_mut();
        if asked.get(&address).is_some_and(|at| at.elapsed() < AGAIN) {
            return;
        }
        if asked.len() >= MAX_UNNAMED {
            asked.retain(|_, at| at.elapsed() < AGAIN);
        }
        if asked.len() < MAX_UNNAMED {
            asked.insert(address, Instant::now());
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            // If the thread has ended, it has reported why.
            requests.send(address).unwrap_or_default();
        }
    }
}

impl Symbolize for KernelSymbols {
    fn symbolize(&self, address: u64) -> Option<Text> {
        if let Some(name) = self.known.symbolize(address) {
            return Some(name);
        }
        if !self.kernel.is_kernel_text(address) {
            self.ask(address);
            return None;
        }
        let name = self.kernel.symbolise(address)?.to_string();
        self.known.learn(address, name.clone().into());
        Some(name.into())
    }

    fn names(&self) -> Names {
        self.known.clone()
    }

    fn generation(&self) -> u64 {
        self.known.generation()
    }

    fn settle(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let asked = self.counts.asked.load(Ordering::Relaxed);
        let is_settled = || self.counts.answered.load(Ordering::Acquire) >= asked;
        while !is_settled() && begun.elapsed() < limit {
            thread::sleep(Duration::from_millis(1));
        }
        is_settled()
    }
}

/// Starts the lookup thread. It ends when the sender is dropped.
fn start(lookup: Lookup, counts: Arc<Counts>) -> io::Result<Sender<u64>> {
    let (sender, requests) = mpsc::channel();
    let answer = move || lookup.run(&requests, &counts);
    thread::Builder::new().name("symbols".to_owned()).spawn(answer)?;
    Ok(sender)
}

/// The state of the lookup thread.
#[derive(Debug)]
struct Lookup {
    root: KernelRoot,
    known: Names,
    late: LateSymbols,
    symbols: Arc<Symbols>,
    /// The modules that were loaded when they were read.
    modules: Modules,
    read_at: Option<Instant>,
    /// Addresses without a name so far.
    unnamed: BTreeSet<u64>,
}

impl Lookup {
    fn new(root: KernelRoot, symbols: Arc<Symbols>, modules: Modules, known: Names) -> Self {
        Self {
            late: LateSymbols::new(root.clone(), symbols.late_from()),
            root,
            known,
            symbols,
            modules,
            read_at: None,
            unnamed: BTreeSet::new(),
        }
    }

    fn run(mut self, requests: &Receiver<u64>, counts: &Counts) {
        while let Ok(first) = requests.recv() {
            let asked: Vec<u64> = std::iter::once(first).chain(requests.try_iter()).collect();
            if let Err(error) = self.answer(&asked) {
                tracing::warn!("cannot read the symbols of modules: {error}");
            }
            counts.answered.fetch_add(asked.len() as u64, Ordering::Release);
            // After one module was loaded, more are likely.
            if self.read_at.is_some() {
                self.late.prepare();
            }
        }
    }

    fn answer(&mut self, asked: &[u64]) -> io::Result<()> {
        // Read the modules first: a module that is loaded in between counts as new the next time.
        let modules = Modules::read(&self.root)?;
        let new = modules.new_since(&self.modules);
        // With the old symbols, an address in a new module would get the name of a symbol that was there before, or of one below it.
        if !new.is_empty() || asked.iter().any(|&address| self.symbols.symbolise(address).is_none()) {
            if let Some(left) = self.read_at.and_then(|at| RELOAD_INTERVAL.checked_sub(at.elapsed())) {
                thread::sleep(left);
            }
            self.read_at = Some(Instant::now());
            let begun = Instant::now();
            self.symbols = Arc::new(self.late.read()?);
            tracing::debug!("read the symbols of modules in {:?}", begun.elapsed());
            let moved = |address: &u64| new.iter().any(|place| place.contains(address));
            let known = self.known.all().into_iter().map(|(address, _)| address);
            self.unnamed.extend(known.filter(moved));
            self.modules = modules;
        }
        self.unnamed.extend(asked);
        let (symbols, known) = (&self.symbols, &self.known);
        self.unnamed.retain(|&address| match symbols.symbolise(address) {
            Some(symbol) => {
                known.learn(address, symbol.to_string().into());
                false
            }
            None => true,
        });
        while self.unnamed.len() > MAX_UNNAMED {
            self.unnamed.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "ffffffff81000000 T _stext\nffffffff81000010 T known\nffffffff81002000 T _etext\n";
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A fake `/proc`.
    struct Kernel(tempfile::TempDir);

    impl Kernel {
        fn with(late: &str, modules: &str) -> Self {
            let kernel = Self(tempfile::tempdir().unwrap());
            kernel.now(late, modules);
            kernel
        }

        fn now(&self, late: &str, modules: &str) {
            std::fs::write(self.0.path().join("kallsyms"), format!("{KERNEL}{late}")).unwrap();
            std::fs::write(self.0.path().join("modules"), modules).unwrap();
        }

        fn names(&self) -> KernelSymbols {
            let root = KernelRoot { proc: self.0.path().to_owned(), ..KernelRoot::default() };
            let modules = Modules::read(&root).unwrap();
            let symbols = Symbols::read(&root).unwrap();
            KernelSymbols::new(root, symbols, modules)
        }
    }

    /// The name, after the lookup is complete.
    fn settled(names: &KernelSymbols, address: u64) -> Option<Text> {
        names.symbolize(address).or_else(|| {
            names.settle(PATIENCE);
            names.names().symbolize(address)
        })
    }

    const OLD: (&str, &str) = ("ffffffffc0000000 t old\t[a]\n", "a 16384 0 - Live 0xffffffffc0000000\n");
    const NEW: (&str, &str) = ("ffffffffc0008000 t new\t[b]\n", "b 16384 0 - Live 0xffffffffc0008000\n");
    const THIRD: (&str, &str) = ("ffffffffc0000000 t third\t[c]\n", "c 16384 0 - Live 0xffffffffc0000000\n");

    #[test]
    fn a_module_symbol_is_looked_up_in_the_background() {
        let kernel = Kernel::with("", "");
        let names = kernel.names();
        kernel.now(NEW.0, NEW.1);
        let shared = names.names();
        assert_eq!(names.symbolize(0xffff_ffff_c000_8010), None, "not looked up yet");
        let own = names.symbolize(0xffff_ffff_8100_0014);
        assert_eq!(own.as_deref(), Some("known+0x4"), "kernel text needs no lookup");
        let before = names.generation();
        let begun = Instant::now();
        while names.generation() == before && begun.elapsed() < PATIENCE {
            thread::yield_now();
        }
        // Without another request.
        assert_eq!(shared.symbolize(0xffff_ffff_c000_8010).as_deref(), Some("new+0x10 [b]"));
    }

    #[test]
    fn a_name_outlives_its_module() {
        let kernel = Kernel::with(OLD.0, OLD.1);
        let names = kernel.names();
        assert_eq!(settled(&names, 0xffff_ffff_c000_0010).as_deref(), Some("old+0x10 [a]"));
        kernel.now("", "");
        let other = settled(&names, 0xffff_ffff_c000_0020);
        assert_eq!(other.as_deref(), Some("old+0x20 [a]"), "no other module is at this address");
        assert_eq!(names.symbolize(0xffff_ffff_c000_0010).as_deref(), Some("old+0x10 [a]"));
    }

    #[test]
    fn an_address_in_a_new_module_is_not_named_after_an_older_one() {
        let kernel = Kernel::with(OLD.0, OLD.1);
        let names = kernel.names();
        assert_eq!(settled(&names, 0xffff_ffff_c000_0010).as_deref(), Some("old+0x10 [a]"));
        kernel.now(&[NEW.0, OLD.0].concat(), &[NEW.1, OLD.1].concat());
        assert_eq!(settled(&names, 0xffff_ffff_c000_8010).as_deref(), Some("new+0x10 [b]"));
        kernel.now(&[THIRD.0, NEW.0].concat(), &[THIRD.1, NEW.1].concat());
        assert_eq!(settled(&names, 0xffff_ffff_c000_0020).as_deref(), Some("third+0x20 [c]"));
        assert_eq!(
            names.symbolize(0xffff_ffff_c000_0010).as_deref(),
            Some("third+0x10 [c]"),
            "the name of the removed module was kept"
        );
        assert_eq!(names.symbolize(0xffff_ffff_c000_8010).as_deref(), Some("new+0x10 [b]"));
    }

    #[test]
    fn an_unnamed_address_is_requested_rarely_and_named_when_symbols_are_read_again() {
        let kernel = Kernel::with(OLD.0, OLD.1);
        let names = kernel.names();
        for _ in 0..3 {
            assert_eq!(settled(&names, 0xffff_ffff_c0a0_0010), None);
        }
        assert_eq!(names.counts.asked.load(Ordering::Relaxed), 1);
        let generated = "ffffffffc0a00000 t bpf_trampoline_1\t[bpf]\n";
        kernel.now(&[OLD.0, generated].concat(), OLD.1);
        assert_eq!(settled(&names, 0xffff_ffff_c0b0_0010), None);
        let found = names.symbolize(0xffff_ffff_c0a0_0010);
        assert_eq!(found.as_deref(), Some("bpf_trampoline_1+0x10 [bpf]"));
    }
}
