//! Tests of the model against the simulated kernel.

mod frees;
mod garbage;
mod lifecycle;
mod snapshots;
mod teardowns;

use std::collections::BTreeMap;

use super::{Allocated, Device, Key, Model, Reference};
use crate::{event::decode::PAGE_SIZE, stream::assemble::Element, testing::simulate::Kernel};

/// A model after these elements.
fn model_of(elements: &[Element]) -> Model {
    let mut model = Model::new();
    for element in elements {
        model.apply(element);
    }
    model
}

fn device<'a>(model: &'a Model, kernel: &Kernel, number: usize) -> &'a Device {
    model.device(kernel.address(number)).unwrap()
}

/// Which holders the model must know.
fn holder(device: &Device, reference: &Reference) -> Option<u32> {
    let task = device.allocated_by(reference).task.unwrap();
    device.is_sure(reference).then_some(task.pid)
}

/// The holder of each page according to the model: the thread that allocated it, or `None` if unknown.
fn pages(model: &Model, device: &Device) -> BTreeMap<u64, Option<u32>> {
    let mut pages = BTreeMap::new();
    let mut claim = |first: u64, end: u64, pid: Option<u32>| {
        for page in (first..end).step_by(PAGE_SIZE as usize) {
            assert_eq!(pages.insert(page, pid), None, "{page:#x} is claimed twice");
        }
    };
    for run in device.preexisting() {
        claim(run.addr, run.addr + run.size, None);
    }
    for (_, reference) in device.references() {
        let pid = holder(device, reference);
        if let Some(addr) = reference.addr() {
            claim(addr, addr + reference.bytes(), pid);
        }
    }
    for (indices, key) in device.ledger.mmaps.iter() {
        let reference = device.reference(Key(key)).unwrap();
        assert!(matches!(reference.allocated, Allocated::Mmap { .. }));
        let span = model.geometry().span(indices).expect("the geometry is known");
        claim(span.start, span.end, holder(device, reference));
    }
    pages
}
