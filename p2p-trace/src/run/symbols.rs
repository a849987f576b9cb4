//! Names of kernel addresses, with those of modules that are loaded while tracing.
//!
//! Those of the kernel's own code are known from the start. All others are looked up by a thread of their own, which reads again
//! when other modules are loaded: nobody who takes in what happens ever waits for a file, and what is in a module has no name
//! until it is there.

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

/// From one reading to the next at least.
const RELOAD_INTERVAL: Duration = Duration::from_millis(250);
/// An address that found no name is asked for again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// Addresses without a name that are remembered.
const MAX_UNNAMED: usize = 4096;

/// The symbols of the running kernel.
#[derive(Debug)]
pub(crate) struct KernelSymbols {
    /// As they were at the start: good for the kernel's own code, which stays where it is.
    kernel: Arc<Symbols>,
    /// What was named. It outlives its module, unless another one comes to lie there.
    known: Names,
    /// When the others were asked for.
    asked: RefCell<HashMap<u64, Instant>>,
    /// To whoever looks them up; nobody, where addresses are hidden.
    questions: Option<Sender<u64>>,
    counts: Arc<Counts>,
}

/// Questions and answers so far.
#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl KernelSymbols {
    /// Takes over symbols that were read from `root` after these modules were found there.
    pub(crate) fn new(root: KernelRoot, symbols: Symbols, modules: Modules) -> Self {
        let kernel = Arc::new(symbols);
        let (known, counts) = (Names::default(), Arc::<Counts>::default());
        let questions = if kernel.addresses_hidden() {
            None
        } else {
            let answering = Answering::new(root, Arc::clone(&kernel), modules, known.clone());
            start(answering, Arc::clone(&counts))
                .inspect_err(|error| tracing::warn!("no names of what is in modules: {error}"))
                .ok()
        };
        Self { kernel, known, asked: RefCell::default(), questions, counts }
    }

    /// Has it looked up, unless that was done just now.
    fn ask(&self, address: u64) {
        let Some(questions) = &self.questions else { return };
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
            // A thread that is gone has said why.
            questions.send(address).unwrap_or_default();
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

/// Starts the thread that looks up what is asked. It ends with whoever asks.
fn start(answering: Answering, counts: Arc<Counts>) -> io::Result<Sender<u64>> {
    let (sender, questions) = mpsc::channel();
    let answer = move || answering.run(&questions, &counts);
    thread::Builder::new().name("symbols".to_owned()).spawn(answer)?;
    Ok(sender)
}

/// What the thread knows.
#[derive(Debug)]
struct Answering {
    root: KernelRoot,
    known: Names,
    late: LateSymbols,
    symbols: Arc<Symbols>,
    /// The modules that were loaded when they were read.
    modules: Modules,
    read_at: Option<Instant>,
    /// Addresses that have no name so far.
    unnamed: BTreeSet<u64>,
}

impl Answering {
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

    fn run(mut self, questions: &Receiver<u64>, counts: &Counts) {
        while let Ok(first) = questions.recv() {
            let asked: Vec<u64> = std::iter::once(first).chain(questions.try_iter()).collect();
            if let Err(error) = self.answer(&asked) {
                tracing::warn!("cannot read the symbols of modules: {error}");
            }
            counts.answered.fetch_add(asked.len() as u64, Ordering::Release);
            // Where modules have come once, more will.
            if self.read_at.is_some() {
                self.late.prepare();
            }
        }
    }

    fn answer(&mut self, asked: &[u64]) -> io::Result<()> {
        // The modules first: one that is loaded in between makes a difference the next time.
        let modules = Modules::read(&self.root)?;
        let new = modules.new_since(&self.modules);
        // An address in a new module would be named after whatever lay there, or in front of it.
        if !new.is_empty() || asked.iter().any(|&address| self.symbols.symbolise(address).is_none()) {
            if let Some(left) = self.read_at.and_then(|at| RELOAD_INTERVAL.checked_sub(at.elapsed())) {
                thread::sleep(left);
            }
            self.read_at = Some(Instant::now());
            let begun = Instant::now();
            self.symbols = Arc::new(self.late.read()?);
            tracing::debug!("the symbols of modules were read in {:?}", begun.elapsed());
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

    /// A kernel's `/proc`.
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

    /// The name once it was looked up.
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
    fn nobody_waits_for_the_name_of_a_module_which_is_there_when_it_has_been_read() {
        let kernel = Kernel::with("", "");
        let names = kernel.names();
        kernel.now(NEW.0, NEW.1);
        let shared = names.names();
        assert_eq!(names.symbolize(0xffff_ffff_c000_8010), None, "it would have to wait");
        let own = names.symbolize(0xffff_ffff_8100_0014);
        assert_eq!(own.as_deref(), Some("known+0x4"), "meanwhile, too");
        let before = names.generation();
        let begun = Instant::now();
        while names.generation() == before && begun.elapsed() < PATIENCE {
            thread::yield_now();
        }
        // It has not been asked for again.
        assert_eq!(shared.symbolize(0xffff_ffff_c000_8010).as_deref(), Some("new+0x10 [b]"));
    }

    #[test]
    fn a_name_outlives_its_module() {
        let kernel = Kernel::with(OLD.0, OLD.1);
        let names = kernel.names();
        assert_eq!(settled(&names, 0xffff_ffff_c000_0010).as_deref(), Some("old+0x10 [a]"));
        kernel.now("", "");
        let other = settled(&names, 0xffff_ffff_c000_0020);
        assert_eq!(other.as_deref(), Some("old+0x20 [a]"), "nothing else has come to lie there");
        assert_eq!(names.symbolize(0xffff_ffff_c000_0010).as_deref(), Some("old+0x10 [a]"));
    }

    #[test]
    fn an_address_is_not_named_after_a_module_that_lies_in_front_of_a_newer_one() {
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
            "the name of the module that is gone was kept"
        );
        assert_eq!(names.symbolize(0xffff_ffff_c000_8010).as_deref(), Some("new+0x10 [b]"));
    }

    #[test]
    fn what_has_no_name_is_not_asked_for_all_the_time_and_gets_one_with_what_is_read_later() {
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
