//! Tests of how frees match.

use p2p_trace_common::{Hook, Kind};

use super::{
    super::{ChangeKind, ClosedBy, FreeMatch, PageMatch},
    device, model_of,
};
use crate::event::{Span, decode::PAGE_SIZE};
use crate::testing::simulate::{Kernel, struct_page};

/// A device with one range of 16 pages.
fn bound() -> Kernel {
    let mut kernel = Kernel::new(1);
    kernel.bind(0, 5, &[16]);
    kernel
}

/// The match of the last free in the stream.
fn last_free(kernel: &Kernel) -> FreeMatch {
    let model = model_of(&kernel.elements);
    let freed = model.changes().iter().find_map(|change| match change.kind {
        ChangeKind::Freed(matched) => Some(matched),
        _ => None,
    });
    freed.unwrap()
}

fn last_pages(kernel: &Kernel) -> PageMatch {
    let model = model_of(&kernel.elements);
    let freed = model.changes().iter().find_map(|change| match change.kind {
        ChangeKind::PagesFreed(matched) => Some(matched),
        _ => None,
    });
    freed.unwrap()
}

/// Allocates four pages, and frees memory with this offset and size.
fn freed(offset: u64, size: u64) -> (Kernel, FreeMatch) {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 4).unwrap();
    let addr = first_page(&kernel, token);
    kernel.free_event(0, 11, addr + offset, size);
    let matched = last_free(&kernel);
    (kernel, matched)
}

fn first_page(kernel: &Kernel, token: usize) -> u64 {
    kernel.outstanding(0).find(|&(found, _)| found == token).unwrap().1.pages[0]
}

#[test]
fn sizes_compare_in_whole_pages() {
    for size in [4 * PAGE_SIZE, 4 * PAGE_SIZE - 4000] {
        let (_, matched) = freed(0, size);
        assert!(matches!(matched, FreeMatch::Exact(closed) if closed.by == ClosedBy::Free), "{matched:?}");
    }
}

#[test]
fn too_large_free_closes_reference() {
    let (kernel, matched) = freed(0, 5 * PAGE_SIZE);
    assert!(matches!(matched, FreeMatch::TooLarge { freed, .. } if freed == 5 * PAGE_SIZE));
    assert_eq!(device(&model_of(&kernel.elements), &kernel, 0).reference_count(), 0);
}

#[test]
fn partial_free_leaves_bytes_but_no_reference() {
    for (offset, size, left) in [
        (0, 1, vec![(PAGE_SIZE, 3)]),
        (2 * PAGE_SIZE, 2 * PAGE_SIZE, vec![(0, 2)]),
        (PAGE_SIZE, PAGE_SIZE, vec![(0, 1), (2 * PAGE_SIZE, 2)]),
        (0, 0, vec![(0, 4)]),
    ] {
        let (kernel, matched) = freed(offset, size);
        assert!(matches!(matched, FreeMatch::Partial { before, .. } if before.count() == 1), "{matched:?}");
        let model = model_of(&kernel.elements);
        let device = device(&model, &kernel, 0);
        let base = device.ranges().next().unwrap().base.unwrap();
        let mut pieces: Vec<_> = device
            .references()
            .map(|(_, piece)| {
                assert!(piece.partial && piece.count() == 0);
                (piece.addr().unwrap() - base, piece.bytes() / PAGE_SIZE)
            })
            .collect();
        pieces.sort_unstable();
        assert_eq!(pieces, left);
        assert_eq!(device.held(device.ranges().next().unwrap()).references, 0);
    }
}

#[test]
fn distinguishes_second_free_from_unknown_memory() {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 2).unwrap();
    let addr = first_page(&kernel, token);
    kernel.free(token, 11, 0);
    kernel.free_event(0, 12, addr, 2 * PAGE_SIZE);
    let FreeMatch::Again { earlier } = last_free(&kernel) else { panic!("{:?}", last_free(&kernel)) };
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    assert_eq!(device.allocated_by(&earlier.reference).task.unwrap().pid, 10);
    kernel.free_event(0, 12, addr + 8 * PAGE_SIZE, PAGE_SIZE);
    assert_eq!(last_free(&kernel), FreeMatch::Unmatched);
}

#[test]
fn preexisting_memory_can_be_freed() {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 4).unwrap();
    let addr = first_page(&kernel, token);
    kernel.elements.clear();
    kernel.snapshot(0, true);
    kernel.free_event(0, 12, addr, PAGE_SIZE);
    assert_eq!(last_free(&kernel), FreeMatch::Preexisting { bytes: PAGE_SIZE, freed: PAGE_SIZE });
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    let left: Vec<_> = device.preexisting().map(|run| (run.addr, run.size)).collect();
    assert_eq!(left, [(addr + PAGE_SIZE, 3 * PAGE_SIZE)]);
    assert_eq!(device.preexisting().next().unwrap().pgmap, Some(kernel.pgmaps(0)[0]));
}

#[test]
fn scatter_list_adopts_allocation_and_explains_nested_free() {
    let mut kernel = bound();
    kernel.nested_frees = true;
    let token = kernel.alloc_list(0, 10, 2).unwrap();
    let addr = first_page(&kernel, token);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    assert_eq!(known.reference_count(), 1);
    let (_, list) = known.reference_at(addr).unwrap();
    assert_eq!((list.allocated.kind().name(), list.count()), ("scatter list", 1));
    assert_eq!(known.allocated_by(list).caller, Some(0xffff_ffff_8200_0000));
    assert!(model.changes().iter().any(|change| matches!(change.kind, ChangeKind::Linked(_))));

    kernel.free(token, 11, 0);
    assert!(matches!(last_free(&kernel), FreeMatch::OfScatterList(closed) if closed.by == ClosedBy::SglFree));
    // It explains one free, by the thread that freed the list.
    kernel.free_event(0, 11, addr, 2 * PAGE_SIZE);
    assert!(matches!(last_free(&kernel), FreeMatch::Again { .. }));
}

#[test]
fn nested_free_must_be_by_the_same_thread() {
    let mut kernel = bound();
    let token = kernel.alloc_list(0, 10, 2).unwrap();
    let addr = first_page(&kernel, token);
    kernel.free(token, 11, 0);
    kernel.free_event(0, 12, addr, 2 * PAGE_SIZE);
    assert!(matches!(last_free(&kernel), FreeMatch::Again { .. }));
}

#[test]
fn scatter_list_of_another_size_adopts_no_allocation() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 1).unwrap();
    kernel.event(0, Kind::SglAlloc, Hook::SglAlloc, 10, |event| {
        event.sgl = Some(0xffff_8880_0000_1000);
        event.size = Some(3 * PAGE_SIZE);
    });
    let model = model_of(&kernel.elements);
    let names: Vec<_> = device(&model, &kernel, 0)
        .references()
        .map(|(_, reference)| (reference.allocated.kind().name(), reference.addr().is_some()))
        .collect();
    assert_eq!(names, [("allocation", true), ("scatter list", false)]);
}

#[test]
fn burst_may_span_several_mmaps() {
    let mut kernel = bound();
    let (first, second) = (kernel.mmap(0, 10, 3).unwrap(), kernel.mmap(0, 10, 3).unwrap());
    let addr = first_page(&kernel, first);
    assert_eq!(first_page(&kernel, second), addr + 3 * PAGE_SIZE);
    kernel.event(0, Kind::PageFree, Hook::PageFree, 10, |event| {
        event.page = Some(struct_page(addr + PAGE_SIZE));
        event.count = Some(6);
    });
    assert_eq!(last_pages(&kernel), PageMatch { matched: 5, unmatched: 1, ..PageMatch::default() });
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    let left: Vec<_> = device.references().map(|(_, left)| (left.at.id.seq, left.count())).collect();
    assert_eq!(left, [(0, 1)]);
    assert_eq!(device.held(device.ranges().next().unwrap()).mmap_pages, 1);
}

#[test]
fn failed_mmap_keeps_inserted_pages() {
    let mut kernel = bound();
    kernel.event(0, Kind::Mmap, Hook::Mmap, 10, |event| {
        event.page = Some(struct_page(crate::testing::simulate::DIRECT_MAP + 0x8000_0000));
        event.count = Some(2);
        event.ret = Some(-12);
        event.failed = true;
    });
    let model = model_of(&kernel.elements);
    assert_eq!(device(&model, &kernel, 0).references().map(|(_, left)| left.count()).sum::<u64>(), 2);
}

#[test]
fn pages_are_reallocated_before_their_free_is_reported() {
    let mut kernel = bound();
    let first = kernel.mmap(0, 10, 2).unwrap();
    let addr = first_page(&kernel, first);
    let freed_ns = kernel.now_ns + 1;
    kernel.mmap(0, 10, 14).unwrap();
    // The pool allocates the two pages again; the burst of their free is reported only now.
    kernel.event(0, Kind::Mmap, Hook::Mmap, 20, |event| {
        event.page = Some(struct_page(addr));
        event.count = Some(2);
    });
    let burst = |kernel: &mut Kernel, first_ns, last_ns| {
        kernel.event(0, Kind::PageFree, Hook::PageFree, 10, |event| {
            event.page = Some(struct_page(addr));
            event.count = Some(2);
            event.span = Some(Span { first_ns, last_ns });
        });
    };
    burst(&mut kernel, freed_ns, freed_ns + 1);
    assert_eq!(last_pages(&kernel).explained, 2);
    let model = model_of(&kernel.elements);
    let (known, pids) = (device(&model, &kernel, 0), |pid| {
        move |holder: super::super::AllocatedBy<'_>| holder.task.unwrap().pid == pid
    });
    assert!(known.references().any(|(_, left)| pids(20)(known.allocated_by(left)) && left.count() == 2));
    let now_ns = kernel.now_ns;
    burst(&mut kernel, now_ns, now_ns + 1);
    assert_eq!(last_pages(&kernel).matched, 2, "this burst is of the second mmap");
}

#[test]
fn pages_are_reallocated_twice_before_their_free_is_reported() {
    let mut kernel = bound();
    let first = kernel.mmap(0, 10, 2).unwrap();
    let addr = first_page(&kernel, first);
    let mut freed = Vec::new();
    for pid in [20, 30] {
        freed.push(kernel.now_ns + 1);
        kernel.now_ns += 10;
        kernel.event(0, Kind::Mmap, Hook::Mmap, pid, |event| {
            event.page = Some(struct_page(addr));
            event.count = Some(2);
        });
    }
    // The bursts of both earlier holders arrive late, in any order.
    for first_ns in freed.into_iter().rev() {
        kernel.event(0, Kind::PageFree, Hook::PageFree, 10, |event| {
            event.page = Some(struct_page(addr));
            event.count = Some(2);
            event.span = Some(Span { first_ns, last_ns: first_ns + 1 });
        });
        assert_eq!(last_pages(&kernel).explained, 2);
    }
    let model = model_of(&kernel.elements);
    let held = device(&model, &kernel, 0).references().map(|(_, left)| left.count());
    assert_eq!(held.sum::<u64>(), 2, "the pages of the third holder are outstanding");
}

#[test]
fn allocation_ends_earlier_reference_at_same_address() {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 4).unwrap();
    let addr = first_page(&kernel, token);
    kernel.event(0, Kind::Alloc, Hook::Alloc, 20, |event| {
        event.addr = Some(addr + PAGE_SIZE);
        event.size = Some(PAGE_SIZE);
    });
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    let holder =
        |addr| device.reference_at(addr).map(|(_, found)| device.allocated_by(found).task.unwrap().pid);
    assert_eq!(holder(addr), Some(10));
    assert_eq!(holder(addr + PAGE_SIZE), Some(20));
    assert_eq!(holder(addr + 2 * PAGE_SIZE), Some(10));
}

#[test]
fn preexisting_memory_is_reallocated_before_its_free_is_reported() {
    for is_placed in [true, false] {
        let mut kernel = bound();
        let token = kernel.mmap(0, 10, 2).unwrap();
        kernel.elements.clear();
        kernel.snapshot(0, true);
        if is_placed {
            kernel.mmap(0, 11, 1);
        }
        kernel.free(token, 10, 2);
        kernel.alloc(0, 12, 2);
        if !is_placed {
            kernel.mmap(0, 11, 1);
        }
        kernel.flush();
        let freed = last_pages(&kernel);
        assert_eq!((freed.explained, freed.matched), (if is_placed { 2 } else { 0 }, 0));
        assert_eq!(freed.unplaced, !is_placed);
    }
}
