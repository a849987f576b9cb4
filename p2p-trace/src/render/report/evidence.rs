//! The records that a finding names, as far as the story has them.

use p2p_trace_model::event::Id;

use super::{
    phrase,
    story::{Story, TeardownStory},
};

/// A record, as far as the story has it.
pub(super) fn describe(story: &Story, id: Id) -> Option<String> {
    story.devices.iter().flat_map(|device| &device.teardowns).find_map(|teardown| of_teardown(teardown, id))
}

fn of_teardown(story: &TeardownStory, id: Id) -> Option<String> {
    let zero_ns = story.zero_ns();
    let steps = story.teardown.steps.iter();
    let step = || {
        let step = steps.clone().find(|step| step.at.id == id)?;
        Some((phrase::step(step.kind).to_owned(), step.at, step.task))
    };
    let used = || {
        let used = story.uses.iter().find(|used| used.at.id == id)?;
        Some((phrase::use_of(used.kind).to_owned(), used.at, used.task))
    };
    let allocated = || {
        let lane = story.lanes.iter().find(|lane| lane.reference.at.id == id)?;
        Some((format!("{} allocated", lane.reference.allocated.kind()), lane.reference.at, lane.task))
    };
    let given = || {
        let ends = story.lanes.iter().filter_map(|lane| lane.end);
        let (at, by) = ends.clone().find(|(at, _)| at.id == id)?;
        Some((phrase::closed(by).to_owned(), at, None))
    };
    let (action, at, task) = step().or_else(used).or_else(allocated).or_else(given)?;
    let by = task.map_or_else(String::new, |task| format!(" by {}", phrase::task(Some(&task))));
    Some(format!("{action}{by}, {}", phrase::relative(at.time_ns, zero_ns)))
}
