//! The one way from what a source delivers to findings, live and post-mortem, so that both always come to the same.
//!
//! A [`Slice`] is what the stream gained in one step, in order of time. Whoever keeps the slices of a run and plays them
//! again gets the same elements, the same model and the same findings: see [`Pipeline::advance`].

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

/// What the stream gained in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Records and losses, in order of time.
    pub items: Vec<Item>,
    /// Nothing older than this can follow; `CLOCK_BOOTTIME` in nanoseconds.
    pub watermark_ns: u64,
}

impl Slice {
    /// What `order` releases when it is given a batch.
    pub fn of(order: &mut Order, batch: &Batch) -> Self {
        let mut slice = Self::default();
        slice.refill(order, batch);
        slice
    }

    /// The same, in the memory of one that is not needed any more.
    pub fn refill(&mut self, order: &mut Order, batch: &Batch) {
        self.items.clear();
        self.items.reserve(batch.records.len() + batch.losses.len());
        order.release(batch, |item| self.items.push(item));
        self.watermark_ns = batch.watermark_ns;
    }
}

/// One element of the stream, after the model has taken it in and the rules have judged it.
#[derive(Debug)]
pub struct Step<'a> {
    /// The element.
    pub element: &'a Element,
    /// The findings that are new or have changed.
    pub findings: &'a [Finding],
    /// What is true after it.
    pub model: &'a Model,
}

/// Where a run is gone on with in the middle: what a checkpoint holds.
#[derive(Debug)]
pub struct Resumption<'a> {
    /// What makes the model.
    pub elements: Vec<Element>,
    /// What the rules had come to.
    pub rules: &'a RuleState,
    /// The time that the stream had reached, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// Everything that happened before this time is in it; 0: not told.
    pub reached_ns: u64,
    /// What had been delivered and lost by then, where that is told.
    pub tally: Option<&'a Tally>,
}

/// What a run has come to.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Findings that have happened again since they were told.
    pub rest: Vec<Finding>,
    /// What every rule came to for every device.
    pub verdicts: Vec<Verdict>,
    /// Findings that are only counted.
    pub omitted: u64,
    /// Something is missing, about whichever device: also about those that were not seen for it.
    pub is_inconclusive: bool,
    /// The time that the stream had reached, `CLOCK_BOOTTIME`.
    pub ended_ns: u64,
    /// What was delivered, lost and missed.
    pub outcome: Outcome,
}

/// Decodes, keeps the model, and judges.
pub struct Pipeline {
    assembler: Assembler,
    tally: Tally,
    model: Model,
    rules: Rules,
    reached_ns: u64,
}

impl Pipeline {
    /// For a run that began at `start_ns`, `CLOCK_BOOTTIME`, with what `status` says is attached.
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

    /// What is attached has changed.
    pub fn update(&mut self, status: &Status) {
        self.rules.set_hooks(&status.hooks);
        self.model.set_armed(&status.hooks);
    }

    /// Something is not known, whatever the records tell: no rule can be sure.
    pub fn mark_uncertain(&mut self, why: impl Into<String>) {
        self.rules.mark_uncertain(why);
    }

    /// Goes on from what was true at some point of a run, of which nothing before is known. What the rules found up to
    /// there is told as one finding for each rule and device.
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

    /// Takes in the next slice, and hands out each element when it has been judged.
    ///
    /// # Errors
    ///
    /// The first that `each` returns; what is behind it in the slice is not taken in then.
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

    /// The run is over: compares with what the kernel counted, and says what every rule came to.
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

    /// Everything that was taken in has been judged: nothing waits for its stack.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.assembler.is_empty()
    }

    /// What is true now.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The rules, with all that they have found.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What has been delivered and lost so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The model holds everything that happened before this time, `CLOCK_BOOTTIME`.
    #[must_use]
    pub const fn reached_ns(&self) -> u64 {
        self.reached_ns
    }
}
