//! A teardown: its steps in order, and the outstanding memory.

use p2p_trace_model::units::{bytes, duration};

use super::Page;
use crate::render::report::{phrase, story::TeardownStory};

/// Maximum of steps.
const MAX_STEPS: usize = 64;
/// Maximum of uses after removal.
const MAX_USES: usize = 16;

impl Page<'_> {
    pub(super) fn teardown(&mut self, story: &TeardownStory) {
        self.prose(&phrase::about(story, self.context));
        self.text.push('\n');
        self.steps(story);
        if let Some(out) = &story.at_kill {
            self.text.push_str("\n**Holders at the kill**\n\n");
            self.out(out, "the kill");
        }
        self.uses(story);
    }

    fn steps(&mut self, story: &TeardownStory) {
        let zero_ns = story.zero_ns();
        let header = ["time", "duration", "step", "by", "record", ""];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let mut before_ns = None;
        let steps = &story.teardown.steps;
        for (index, step) in steps.iter().enumerate().take(MAX_STEPS) {
            let time_ns = step.at.time_ns;
            let lasted =
                before_ns.map_or_else(String::new, |before| duration(time_ns.saturating_sub(before)));
            before_ns = Some(time_ns);
            let wrong = story.wrong.iter().find(|(at, _)| *at == index);
            let mut notes: Vec<String> = Vec::new();
            notes.extend(wrong.map(|(_, problem)| format!("<== {problem}")));
            if story.ranges.len() > 1 {
                notes.extend(step.range.map(|id| phrase::range(&story.ranges, id)));
            }
            rows.push(vec![
                phrase::relative(time_ns, zero_ns),
                lasted,
                phrase::step(step.kind).to_owned(),
                phrase::task(step.task.as_ref()),
                phrase::record(step.at.id),
                notes.join(" "),
            ]);
        }
        let more = steps.len().saturating_sub(MAX_STEPS) as u64 + story.teardown.omitted;
        if more > 0 {
            rows.push(vec![format!("... and {more} more")]);
        }
        if let Some((step, since_ns)) = &story.pending {
            let age = duration(story.until_ns.saturating_sub(*since_ns));
            rows.push(vec![
                phrase::relative(story.until_ns, zero_ns),
                String::new(),
                format!("<== END NOT OBSERVED: {step}, for {age}"),
            ]);
        }
        self.columns(&rows);
        if let [range] = story.ranges.as_slice() {
            let size = range.size().map_or_else(String::new, |size| format!(", {}", bytes(size)));
            let bar = range.bar.map_or_else(String::new, |bar| format!(", BAR {bar}"));
            let text = format!("The range is {}{size}{bar}.", phrase::range(&story.ranges, range.id));
            self.text.push('\n');
            self.prose(&text);
        }
        if let Some(armed) = story.teardown.armed {
            let text = format!(
                "DMA mappings were watched for late uses from {} on.",
                phrase::relative(armed.from_ns, zero_ns)
            );
            self.prose(&text);
        }
    }

    fn uses(&mut self, story: &TeardownStory) {
        if story.uses.is_empty() {
            return;
        }
        self.text.push_str("\nUsed after the struct pages were removed:\n\n");
        let zero_ns = story.zero_ns();
        let mut rows: Vec<_> = story
            .uses
            .iter()
            .take(MAX_USES)
            .map(|used| {
                vec![
                    phrase::relative(used.at.time_ns, zero_ns),
                    phrase::use_of(used.kind).to_owned(),
                    phrase::task(used.task.as_ref()),
                    phrase::record(used.at.id),
                ]
            })
            .collect();
        let more = story.uses.len().saturating_sub(MAX_USES) as u64 + story.uses_omitted;
        if more > 0 {
            rows.push(vec![format!("... and {more} more")]);
        }
        self.columns(&rows);
    }
}
