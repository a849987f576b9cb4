//! Entry points. Each hook has an fentry or fexit program and a kprobe, or a kprobe that saves the
//! arguments and a kretprobe, all with the same body. Hooks that are armed unless the user names
//! them have separate programs for the armed form. User space knows them by name
//! (`crates/probe/src/hook_table.rs`).

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, fexit, kprobe, kretprobe, map, raw_tracepoint},
    maps::Array,
    programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};
use p2p_trace_common::Hook;

use crate::{
    config::config,
    context::{Entered, Returned, Traced, note_arguments},
    flush::flush,
    hooks::{self, alloc, armed, mmap, resource, sgl, snapshot, teardown, unbind},
    memory::read,
    ring::MMAPABLE,
};

macro_rules! at_entry {
    ($($hook:ident => $body:path: $fentry:ident, $kprobe:ident;)*) => {$(
        #[fentry]
        fn $fentry(context: FEntryContext) -> u32 {
            $body(&Traced::<{ Hook::$hook as u8 }>::new(context.as_ptr()), Hook::$hook);
            0
        }

        #[kprobe]
        fn $kprobe(context: ProbeContext) -> u32 {
            $body(&Entered::<{ Hook::$hook as u8 }>::new(context.as_ptr()), Hook::$hook);
            0
        }
    )*};
}

macro_rules! at_exit {
    ($($hook:ident => $body:path: $fexit:ident, $note:ident, $kretprobe:ident;)*) => {$(
        #[fexit]
        fn $fexit(context: FExitContext) -> u32 {
            $body(&Traced::<{ Hook::$hook as u8 }>::new(context.as_ptr()), Hook::$hook);
            0
        }

        #[kprobe]
        fn $note(context: ProbeContext) -> u32 {
            note_arguments::<{ Hook::$hook as u8 }>(context.as_ptr(), Hook::$hook);
            0
        }

        #[kretprobe]
        fn $kretprobe(context: RetProbeContext) -> u32 {
            if let Some(returned) = Returned::new(context.as_ptr(), Hook::$hook) {
                $body(&returned, Hook::$hook);
            }
            0
        }
    )*};
}

at_entry! {
    Publish => resource::publish: publish_fentry, publish_kprobe;
    Free => alloc::free: free_fentry, free_kprobe;
    SglFree => sgl::free: sgl_free_fentry, sgl_free_kprobe;
    MmapEnter => mmap::enter: mmap_enter_fentry, mmap_enter_kprobe;
    InsertPage => mmap::insert_page: insert_page_fentry, insert_page_kprobe;
    PageFree => mmap::page_free: page_free_fentry, page_free_kprobe;
    MapSg => hooks::map::scatter_list: map_sg_fentry, map_sg_kprobe;
    UnmapSg => hooks::map::scatter_list: unmap_sg_fentry, unmap_sg_kprobe;
    MapSegment => hooks::map::segment: map_segment_fentry, map_segment_kprobe;
    MapState => hooks::map::state: map_state_fentry, map_state_kprobe;
    VirtToBus => hooks::map::virt_to_bus: virt_to_bus_fentry, virt_to_bus_kprobe;
    Unbind => unbind::enter: unbind_fentry, unbind_kprobe;
    DriverRemove => unbind::enter: driver_remove_fentry, driver_remove_kprobe;
    DevresRelease => unbind::enter: devres_release_fentry, devres_release_kprobe;
    UnmapMappings => teardown::unmap_mappings: unmap_mappings_fentry, unmap_mappings_kprobe;
    MemremapRelease => teardown::memremap_release: memremap_release_fentry, memremap_release_kprobe;
    Kill => teardown::kill: kill_fentry, kill_kprobe;
    Drained => teardown::drained: drained_fentry, drained_kprobe;
    Remove => teardown::remove: remove_fentry, remove_kprobe;
    Release => teardown::release: release_fentry, release_kprobe;
    DmaMapSg => armed::scatter_list: dma_map_sg_fentry, dma_map_sg_kprobe;
    DmaMapPage => armed::page: dma_map_page_fentry, dma_map_page_kprobe;
    DmaMapPhys => armed::physical: dma_map_phys_fentry, dma_map_phys_kprobe;
    DmaIovaLink => armed::physical: dma_iova_link_fentry, dma_iova_link_kprobe;
    BlkDmaMap => armed::request: blk_dma_map_fentry, blk_dma_map_kprobe;
    Snapshot => snapshot::snapshot: snapshot_fentry, snapshot_kprobe;
    AllocEnter => armed::alloc: alloc_enter_fentry, alloc_enter_kprobe;
    MapSg => armed::scatter_list: armed_map_sg_fentry, armed_map_sg_kprobe;
    UnmapSg => armed::scatter_list: armed_unmap_sg_fentry, armed_unmap_sg_kprobe;
}

at_exit! {
    AddResource => resource::add: add_resource_fexit, add_resource_note, add_resource_kretprobe;
    Memremap => resource::memremap: memremap_fexit, memremap_note, memremap_kretprobe;
    Alloc => alloc::alloc: alloc_fexit, alloc_note, alloc_kretprobe;
    SglAlloc => sgl::alloc: sgl_alloc_fexit, sgl_alloc_note, sgl_alloc_kretprobe;
    Mmap => mmap::leave: mmap_fexit, mmap_note, mmap_kretprobe;
    Unbound => unbind::leave: unbound_fexit, unbound_note, unbound_kretprobe;
    DriverRemoved => unbind::leave: driver_removed_fexit, driver_removed_note, driver_removed_kretprobe;
    DevresReleased => unbind::leave: devres_released_fexit, devres_released_note, devres_released_kretprobe;
    Unmapped => teardown::unmapped: unmapped_fexit, unmapped_note, unmapped_kretprobe;
    Released => teardown::released: released_fexit, released_note, released_kretprobe;
}

/// Run by user space through `BPF_PROG_TEST_RUN`, never attached: writes the bursts accumulated so
/// far.
#[raw_tracepoint]
fn flush_bursts(_: RawTracePointContext) -> u32 {
    flush();
    0
}

/// Run by user space in the thread that is about to read an attribute for a snapshot.
#[raw_tracepoint]
fn begin_snapshot(_: RawTracePointContext) -> u32 {
    snapshot::begin();
    0
}

/// Values that user space cannot read itself: word 0 is the start of the page array
/// (`vmemmap_base`).
#[map]
static FACTS: Array<u64> = Array::with_max_entries(1, MMAPABLE);

/// Run by user space once after loading: fills `FACTS`.
#[raw_tracepoint]
fn read_facts(_: RawTracePointContext) -> u32 {
    if let (Some(fact), Some(value)) = (FACTS.get_ptr_mut(0), read(config!(vmemmap_base), 0)) {
        // SAFETY: the pointer is to a map value of this type.
        unsafe {
            *fact = value;
        }
    }
    0
}
