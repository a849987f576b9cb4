//! The model accepts any stream.

use p2p_trace_common::{Hook, Kind, hook::HOOKS};
use proptest::prelude::*;

use super::super::Model;
use crate::testing::simulate::garbage::element;

proptest! {
    #[test]
    fn accepts_any_stream(elements in proptest::collection::vec(element(), 0..300)) {
        let mut model = Model::new();
        for element in &elements {
            model.apply(element);
        }
        for device in model.devices() {
            let known: u64 = device.references().map(|(_, reference)| reference.count()).sum();
            let held: u64 = device.ranges().map(|range| device.held(range).references).sum();
            prop_assert!(held <= known);
            for (key, reference) in device.references() {
                prop_assert_eq!(device.reference(key), Some(reference));
                let _by = device.allocated_by(reference);
            }
        }
    }
}

#[test]
fn garbage_includes_every_hook_and_kind() {
    assert_eq!(Hook::ALL.len(), HOOKS);
    assert!(Kind::ALL.iter().all(|&kind| matches!(kind as u8, 1..30 | 64 | 128..135)));
}
