//! The pipeline from a source's records to findings. Live and post-mortem runs share it, so their results are the same.
//!
//! A [`Slice`] is one step's addition to the stream, in order of time. Replaying the slices of a run results in the same
//! elements, the same model and the same findings: see [`Pipeline::advance`].

use crate::{
    accounting::{Outcome, Status, Tally, Totals},
    rules::{self, Finding, RuleState, Rules, Verdict},
    state::{Limit, Model},
    stream::{
        Batch,
        assemble::{Assembler, Element},
        order::{Item, Order},
    },
};

/// One step's addition to the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Records and losses, in order of time.
    pub items: Vec<Item>,
    /// No older item can follow; `CLOCK_BOOTTIME` in nanoseconds.
    pub watermark_ns: u64,
}

impl Slice {
    /// The items that `order` releases for a batch.
    pub fn of(order: &mut Order, batch: &Batch) -> Self {
        let mut slice = Self::default();
        slice.refill(order, batch);
        slice
    }

    /// Replaces the slice by the items that `order` releases for a batch, reusing its memory.
    pub fn refill(&mut self, order: &mut Order, batch: &Batch) {
        self.items.clear();
        self.items.reserve(batch.records.len() + batch.losses.len());
        order.release(batch, |item| self.items.push(item));
        self.watermark_ns = batch.watermark_ns;
    }
}

/// One element of the stream, after the model has applied it and the rules have evaluated it.
#[derive(Debug)]
pub struct Step<'a> {
    /// The element.
    pub element: &'a Element,
    /// The findings that are new or have changed.
    pub findings: &'a [Finding],
    /// The model after the element.
    pub model: &'a Model,
}

/// The state from which a run is continued, such as a checkpoint.
#[derive(Debug)]
pub struct Resumption<'a> {
    /// Elements that recreate the model.
    pub elements: Vec<Element>,
    /// The state of the rules.
    pub rules: &'a RuleState,
    /// The time that the stream had reached, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// All events before this time are included, `CLOCK_BOOTTIME` in nanoseconds; 0 if unknown.
    pub reached_ns: u64,
    /// Delivered and lost records so far, if known.
    pub tally: Option<&'a Tally>,
}

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Findings that have happened again since they were last reported.
    pub rest: Vec<Finding>,
    /// The verdict of every rule for every device.
    pub verdicts: Vec<Verdict>,
    /// Number of findings that were only counted.
    pub omitted: u64,
    /// Records were lost, or every rule is uncertain for another reason. This also concerns devices that were not seen.
    pub is_inconclusive: bool,
    /// The time that the stream had reached, `CLOCK_BOOTTIME`.
    pub ended_ns: u64,
    /// Numbers of delivered, lost and missed records.
    pub outcome: Outcome,
}

/// Assembles elements, updates the model, and evaluates the rules.
pub struct Pipeline {
    assembler: Assembler,
    tally: Tally,
    model: Model,
    rules: Rules,
    reached_ns: u64,
}

impl Pipeline {
    /// Creates the pipeline for a run that began at `start_ns`, `CLOCK_BOOTTIME`, with the hooks of `status`.
    #[must_use]
    pub fn new(status: &Status, options: rules::Options, start_ns: u64) -> Self {
        let mut model = Model::new();
        model.attached(status.attached(), start_ns);
        model.set_armed(&status.hooks);
        Self {
            assembler: Assembler::new(),
            tally: Tally::default(),
            rules: Rules::new(options, &status.hooks, status.accounting.missed),
            model,
            reached_ns: 0,
        }
    }

    /// Updates the state of the hooks.
    pub fn update(&mut self, status: &Status) {
        self.rules.set_hooks(&status.hooks);
        self.model.set_armed(&status.hooks);
    }

    /// Makes every rule uncertain, for a reason that is not in the records.
    pub fn mark_uncertain(&mut self, why: impl Into<String>) {
        self.rules.mark_uncertain(why);
    }

    /// Continues from the state at some point of a run, without the earlier records. Earlier findings are reported as one
    /// finding per rule and device.
    pub fn resume(&mut self, at: &Resumption<'_>) {
        for element in &at.elements {
            self.model.apply(element);
        }
        self.rules.resume(at.rules, at.time_ns);
        if let Some(tally) = at.tally {
            self.tally = tally.clone().resumed();
        }
        self.reached_ns = self.reached_ns.max(at.time_ns).max(at.reached_ns);
    }

    /// Processes the next slice, and calls `each` for every element after it has been evaluated.
    ///
    /// # Errors
    ///
    /// Returns the first error of `each`; later elements of the slice are not processed then.
    pub fn advance<E>(
        &mut self,
        slice: &Slice,
        mut each: impl FnMut(&Step<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { assembler, tally, model, rules, reached_ns } = self;
        let mut result = Ok(());
        let mut evaluate = |element: &Element| {
            if result.is_err() {
                return;
            }
            model.apply(element);
            let findings = rules.apply(model, element);
            result = each(&Step { element, findings: &findings, model });
        };
        for item in &slice.items {
            match item {
                Item::Record(record) => tally.record(record),
                Item::Loss(loss) => tally.loss(loss),
            }
            assembler.push(item, &mut evaluate);
        }
        assembler.advance(slice.watermark_ns, &mut evaluate);
        *reached_ns = slice.watermark_ns;
        result
    }

    /// Ends the run: compares the records with the kernel's counts, and returns the results.
    pub fn close(&mut self, totals: &Totals) -> Closing {
        if totals.shortfalls.notes_full > 0 {
            self.rules.reach(Limit::Notes);
        }
        Closing {
            rest: self.rules.rest(&self.model),
            verdicts: self.rules.verdicts(&self.model),
            omitted: self.rules.omitted(),
            is_inconclusive: self.rules.is_inconclusive(),
            ended_ns: self.model.now_ns(),
            outcome: self.tally.close(totals),
        }
    }

    /// All records have been evaluated: none is waiting for its stack.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.assembler.is_empty()
    }

    /// The current state.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The rules, with their findings.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Delivered and lost records so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The model includes all events before this time, `CLOCK_BOOTTIME` in nanoseconds.
    #[must_use]
    pub const fn reached_ns(&self) -> u64 {
        self.reached_ns
    }
}
