//! Joins the parts of a split dump (`makedumpfile --split`). Each part has all headers and the bitmap, and
//! the pages of its own range.

use std::ops::Range;

use p2p_trace_model::text::Text;

use super::{
    error::CoreError,
    memory::{Chunk, Facts, PhysicalMemory, Scratch, SkipReason, Skipped},
};

/// A part's description of itself and of the complete dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The page frames whose pages are in this part.
    pub frames: Range<u64>,
    /// The number of page frames in the complete dump.
    pub all: u64,
    /// Bytes of a page.
    pub page: u64,
}

/// Joins the parts of a split dump into one memory; a single complete dump is returned unchanged.
///
/// # Errors
///
/// If several inputs are not the parts of one dump.
pub fn join<'a>(
    mut parts: Vec<(Text, Box<dyn PhysicalMemory + 'a>)>,
) -> Result<Box<dyn PhysicalMemory + 'a>, CoreError> {
    let foreign = |why: String| Err(CoreError::Foreign(why.into()));
    if let Some((name, _)) = parts.iter().find(|(_, memory)| parts.len() > 1 && memory.part().is_none()) {
        return foreign(format!(
            "several files must be the parts of one split dump (makedumpfile --split), and {name} is no part: process each dump separately"
        ));
    }
    let mut frames: Vec<Range<u64>> = Vec::new();
    let mut first: Option<(&str, Part, Shared<'_>)> = None;
    for (name, memory) in &parts {
        let Some(part) = memory.part() else { continue };
        let shared = (part.all, part.page, memory.facts(), memory.pages_outside(&[]));
        match &first {
            Some((other, _, known)) if *known != shared => {
                return foreign(format!("{name} and {other} are parts of different dumps"));
            }
            Some(_) => {}
            None => first = Some((name, part.clone(), shared)),
        }
        frames.push(part.frames);
    }
    let mut elsewhere = Skipped::default();
    if let (Some((_, part, _)), Some((_, memory))) = (&first, parts.first()) {
        frames.sort_by_key(|range| range.start);
        let (pages, lowest) = memory.pages_outside(&frames);
        if pages > 0 {
            elsewhere.add(
                SkipReason::Elsewhere,
                lowest.saturating_mul(part.page),
                pages.saturating_mul(part.page),
            );
        }
    }
    if parts.len() == 1 && elsewhere.iter().next().is_none() {
        return parts.pop().map(|(_, memory)| memory).map_or_else(|| foreign("no input".to_owned()), Ok);
    }
    let parts: Vec<_> = parts.into_iter().map(|(_, memory)| memory).collect();
    if parts.is_empty() {
        return foreign("no input".to_owned());
    }
    Ok(Box::new(Joined { parts, elsewhere }))
}

/// Properties that all parts of a dump share: number and size of page frames, facts, and the pages in the dump.
type Shared<'a> = (u64, u64, &'a Facts, (u64, u64));

struct Joined<'a> {
    /// Not empty.
    parts: Vec<Box<dyn PhysicalMemory + 'a>>,
    /// Pages in none of the parts.
    elsewhere: Skipped,
}

impl Joined<'_> {
    /// The memory that holds a part, and the part's number in it.
    fn place(&self, mut part: u64) -> Option<(&dyn PhysicalMemory, u64)> {
        for memory in &self.parts {
            if part < memory.parts() {
                return Some((memory.as_ref(), part));
            }
            part -= memory.parts();
        }
        None
    }
}

impl PhysicalMemory for Joined<'_> {
    fn facts(&self) -> &Facts {
        self.parts[0].facts()
    }

    fn parts(&self) -> u64 {
        self.parts.iter().map(|memory| memory.parts()).sum()
    }

    fn weight(&self, part: u64) -> u64 {
        self.place(part).map_or(0, |(memory, part)| memory.weight(part))
    }

    fn read(&self, part: u64, scratch: &mut Scratch, each: &mut dyn FnMut(Chunk<'_>)) {
        // The state between parts belongs to one file.
        let mut own = Scratch::default();
        if let Some((memory, part)) = self.place(part) {
            memory.read(part, &mut own, each);
        }
        scratch.skipped.merge(&own.skipped);
    }

    fn skipped(&self) -> Skipped {
        let mut skipped = self.elsewhere.clone();
        self.parts.iter().for_each(|memory| skipped.merge(&memory.skipped()));
        skipped
    }

    fn holes(&self) -> u64 {
        self.parts.iter().map(|memory| memory.holes()).sum()
    }
}
