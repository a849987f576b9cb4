//! Complete life cycles of devices, with and without losses.

use proptest::prelude::*;

use super::{device, model_of, pages};
use crate::state::{ChangeKind, ClosedBy, FreeMatch, GRACE_NS, Model, Stage};
use crate::testing::simulate::{
    Kernel,
    play::{DEVICES, acts, play, roll, with_losses},
};

/// Takes a final snapshot of every device when no record is delayed any more.
fn settle(kernel: &mut Kernel) {
    kernel.now_ns += 2 * GRACE_NS;
    for device in 0..usize::from(DEVICES) {
        kernel.snapshot(device, true);
    }
}

/// Checks the model against the simulated kernel: the holder of each page, and the ranges.
fn assert_true(model: &Model, kernel: &Kernel, exact: bool) {
    for number in 0..usize::from(DEVICES) {
        let Some(device) = model.device(kernel.address(number)) else {
            assert!(!kernel.is_bound(number));
            continue;
        };
        let (modeled, actual) = (pages(model, device), kernel.pages(number));
        assert_eq!(modeled.keys().collect::<Vec<_>>(), actual.keys().collect::<Vec<_>>());
        for (page, pid) in modeled {
            if exact || pid.is_some() {
                assert_eq!(pid, actual.get(&page).copied(), "{page:#x}");
            }
        }
        let live = device.ranges().rev().filter(|range| range.stage() == Stage::Live);
        let mut live: Vec<_> = live.map(|range| range.id.pgmap).collect();
        let mut bound = kernel.pgmaps(number);
        live.sort_unstable();
        bound.sort_unstable();
        assert_eq!(live, bound);
        assert!(device.uncertain().is_empty());
    }
}

proptest! {
    #[test]
    fn knows_everything_without_losses(acts in acts(), nested_frees: bool) {
        let mut kernel = play(&acts, nested_frees);
        kernel.flush();
        let mut model = Model::new();
        for element in &kernel.elements {
            model.apply(element);
            for change in model.changes() {
                let is_unmatched = match change.kind {
                    ChangeKind::Freed(was) => matches!(was, FreeMatch::Unmatched | FreeMatch::Again { .. }),
                    ChangeKind::PagesFreed(pages) => pages.unmatched > 0,
                    _ => false,
                };
                prop_assert!(!is_unmatched, "{change:?}");
            }
        }
        assert_true(&model, &kernel, true);
        for device in model.devices() {
            prop_assert!(device.closed().all(|closed| closed.by.is_seen() || closed.by == ClosedBy::Reused));
            prop_assert!(device.pending_teardown().is_none());
            for range in device.ranges() {
                let held = device.held(range);
                let references: Vec<_> = device
                    .references()
                    .map(|(_, reference)| reference)
                    .filter(|reference| device.range_of(reference).is_some_and(|of| of.id == range.id))
                    .collect();
                prop_assert_eq!(held.references, references.iter().map(|reference| reference.count()).sum::<u64>());
                prop_assert_eq!(held.bytes, references.iter().map(|reference| reference.bytes()).sum::<u64>());
            }
        }
    }

    #[test]
    fn late_start_and_snapshot_know_allocated_memory(acts in acts(), from in 0usize..200, nested_frees: bool) {
        let mut kernel = play(&acts, nested_frees);
        settle(&mut kernel);
        let from = from.min(kernel.elements.len());
        let model = model_of(&kernel.elements[from..]);
        if from < kernel.elements.len() / 2 {
            assert_true(&model, &kernel, false);
        }
    }

    #[test]
    fn snapshot_corrects_losses(
        acts in acts(),
        seed: u32,
        nested_frees: bool,
        share in 1u8..200,
        window in (0usize..150, 1usize..150),
    ) {
        let mut kernel = play(&acts, nested_frees);
        kernel.flush();
        let lossy = kernel.elements.len();
        settle(&mut kernel);
        let elements = with_losses(&kernel.elements, |place| {
            place < lossy && (window.0..window.0 + window.1).contains(&place) && roll(seed, place) < share
        });
        let model = model_of(&elements);
        assert_true(&model, &kernel, false);
    }
}

#[test]
fn finds_device_by_address() {
    let mut kernel = Kernel::new(DEVICES);
    kernel.bind(0, 5, &[8]);
    let model = model_of(&kernel.elements);
    assert_eq!(device(&model, &kernel, 0).address(), kernel.address(0));
    assert!(model.device(kernel.address(1)).is_none());
}
