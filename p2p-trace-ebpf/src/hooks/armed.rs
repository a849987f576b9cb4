//! The armed hooks, attached only while a device that may have outstanding memory is being torn
//! down.
//!
//! Most are on the generic DMA mapping functions, through which a page of a removed range can pass
//! without any call of a p2pdma function. Those functions are hot: the hooks compare page addresses
//! with those of the ranges being torn down, and never look into a page. One more hook is on the
//! entry of `pci_alloc_p2pmem`, because an attempt on freed memory does not always return.

use aya_ebpf::{bpf_printk, helpers::bpf_get_current_pid_tgid, macros::map, maps::LruHashMap};
use p2p_trace_common::{Hook, Kind, config::MISSING, statement::What, valid};

use crate::{
    armed::{Found, Table, Target, dead_chunk},
    config::{offset, setting},
    context::Context,
    device::{self, Address},
    emit::Event,
    hooks::map::client_word,
    memory::read,
    ring, say,
};

/// A task that maps pages of a range for a device through one function.
#[repr(C)]
#[derive(Clone, Copy)]
struct Mapper {
    pgmap: u64,
    client: u64,
    task: u64,
    hook: u64,
}

/// Time of the last record about the mapper's maps, and number of maps since.
#[repr(C)]
#[derive(Clone, Copy)]
struct LastReport {
    at_ns: u64,
    since: u64,
}

/// Capacity of the table of mappers.
const MAPPERS: u32 = 1024;

#[map]
static LEGAL_MAPS: LruHashMap<Mapper, LastReport> = LruHashMap::with_max_entries(MAPPERS, 0);

/// Minimum time between two records about legal maps of one mapper.
const REPORT_INTERVAL_NS: u64 = 1_000_000_000;

/// Number of maps of a still-present range that a record stands for now; `None` if the next record
/// is not due yet.
#[inline(always)]
fn due(hook: Hook, pgmap: u64, client: u64) -> Option<u64> {
    let mapper = Mapper { pgmap, client, task: bpf_get_current_pid_tgid(), hook: hook as u64 };
    let now = ring::now();
    if let Some(last) = LEGAL_MAPS.get_ptr_mut(mapper) {
        // SAFETY: the pointer is to a map value, which only the current task changes.
        unsafe {
            (*last).since += 1;
            if now.wrapping_sub((*last).at_ns) < REPORT_INTERVAL_NS {
                return None;
            }
            let count = (*last).since;
            *last = LastReport { at_ns: now, since: 0 };
            return Some(count);
        }
    }
    // A mapper that does not fit into the table is reported every time.
    LEGAL_MAPS.insert(mapper, LastReport { at_ns: now, since: 0 }, 0).unwrap_or_default();
    Some(1)
}

/// Records a map if it is of a range in the table.
#[inline(always)]
fn report<C: Context>(context: &C, hook: Hook, table: Table, client: u64, target: Target) {
    let Some(range) = table.find(target) else {
        let (Target::Page(at) | Target::Physical(at)) = target;
        say::armed(hook, What::NotWatched, at);
        return;
    };
    let is_unmap = hook as u8 == Hook::UnmapSg as u8;
    let event = Event::new(if is_unmap { Kind::Unmap } else { Kind::Map }, hook)
        .armed()
        .device_word(range.device, valid::DEVICE)
        .pgmap(range.pgmap)
        .caller(context);
    let (event, at) = match target {
        Target::Page(page) => (event.word(0, valid::PAGE, page), page),
        Target::Physical(address) => (event.word(1, valid::PHYSICAL, address), address),
    };
    if range.removed {
        event.word_if(3, valid::CLIENT, client_word(client)).emit_rare(context);
        say::armed(hook, What::Watched, range.pgmap);
        trace_use(range, at);
    } else if is_unmap {
        // An unmap of a range that is still present is legal.
        say::armed(hook, What::Watched, range.pgmap);
    } else if let Some(count) = due(hook, range.pgmap, client) {
        let event = event.word_if(3, valid::CLIENT, client_word(client));
        event.number(valid::COUNT, count as u32).emit_frequent(context);
        say::armed(hook, What::Watched, range.pgmap);
    } else {
        say::armed(hook, What::HeldBack, range.pgmap);
    }
}

/// The range of the table that a page belongs to.
#[inline(always)]
pub(crate) fn of_page(page: u64) -> Option<Found> {
    let table = Table::get()?;
    let target = Target::Page(page);
    if table.may_hold(target) { table.find(target) } else { None }
}

/// Writes to the kernel's own trace that memory of a removed range is used. The use may crash this
/// kernel, and its trace survives that (`ftrace_dump_on_oops`). The line already names the task.
#[inline(always)]
pub(crate) fn trace_use(range: Found, at: u64) {
    if !range.removed || setting!(printk) == 0 {
        return;
    }
    // SAFETY: the kernel formats three numbers.
    unsafe {
        bpf_printk!(
            c"p2p-trace: use-after-removal: maps %llx of pgmap %llx, removed up to %llx",
            at,
            range.pgmap,
            range.end.wrapping_sub(1)
        );
    }
}

#[inline(always)]
fn check<C: Context>(context: &C, hook: Hook, client: usize, target: Target) {
    let Some(table) = Table::get() else { return };
    if table.may_hold(target) {
        report(context, hook, table, context.arg(client), target);
    }
}

/// Entry of `pci_alloc_p2pmem(pdev, size)`.
#[inline(always)]
pub(crate) fn alloc<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    let size = context.arg(1);
    attempt(
        context,
        Event::new(Kind::AllocAttempt, hook).armed().word(1, valid::SIZE, size).caller(context),
        address,
    );
}

/// Records an attempt to allocate if it reads freed memory.
#[inline(always)]
pub(crate) fn attempt<C: Context>(context: &C, event: Event, address: Option<Address>) {
    let Some(address) = address else { return };
    let Some(pgmap) = dead_chunk(address) else { return };
    event.device(Some(address)).pgmap(pgmap).emit_rare(context);
    if setting!(printk) == 0 {
        return;
    }
    // SAFETY: the kernel formats a number.
    unsafe {
        bpf_printk!(
            c"p2p-trace: alloc-on-dead-chunk: allocates while the pool points to pgmap %llx, which is gone",
            pgmap
        );
    }
}

/// Maximum number of entries of a scatter list that are checked.
const MAX_ENTRIES: u64 = 64;
/// `SG_CHAIN` and `SG_END` in an entry's page pointer.
const CHAIN: u64 = 1;
const END: u64 = 2;

/// Entry of `__dma_map_sg_attrs` or `dma_map_sg_attrs(dev, sg, nents)`, and of the p2pdma functions that have these arguments.
#[inline(always)]
pub(crate) fn scatter_list<C: Context>(context: &C, hook: Hook) {
    let size = offset!(sg_size);
    let Some(table) = Table::get() else { return };
    if size == MISSING {
        return;
    }
    let count = context.arg(2) as u32;
    let mut entry = context.arg(1);
    let mut seen = 0;
    let mut hit = 0;
    while seen < MAX_ENTRIES {
        if seen >= u64::from(count) {
            return;
        }
        let Some(link) = read::<u64>(entry, offset!(sg_page_link)) else {
            return;
        };
        let pointer = link & !(CHAIN | END);
        if link & CHAIN != 0 {
            entry = pointer;
        } else {
            if table.holds(Target::Page(pointer)) {
                hit = pointer;
                break;
            }
            if link & END != 0 {
                return;
            }
            entry = entry.wrapping_add(u64::from(size));
        }
        seen += 1;
    }
    if hit != 0 {
        report(context, hook, table, context.arg(0), Target::Page(hit));
    }
}

/// Entry of `dma_map_page_attrs(dev, page)`.
#[inline(always)]
pub(crate) fn page<C: Context>(context: &C, hook: Hook) {
    check(context, hook, 0, Target::Page(context.arg(1)));
}

/// Entry of `dma_map_phys` or `dma_iova_link(dev, phys)`.
#[inline(always)]
pub(crate) fn physical<C: Context>(context: &C, hook: Hook) {
    check(context, hook, 0, Target::Physical(context.arg(1)));
}

/// Maximum number of segments of a request that are checked.
const MAX_SEGMENTS: u32 = 32;

/// Entry of `blk_rq_dma_map_iter_start(req, dma_dev)`: walks the first bio from its iterator's
/// position.
#[inline(always)]
pub(crate) fn request<C: Context>(context: &C, hook: Hook) {
    let (bio_at, vector_at) = (offset!(request_bio), offset!(bio_io_vec));
    let (index_at, count_at) = (offset!(bio_iter_idx), offset!(bio_vcnt));
    let request = context.arg(0);
    let Some(bio) = read::<u64>(request, bio_at) else {
        say::unread(hook, What::Request, request);
        return;
    };
    let Some(vector) = read::<u64>(bio, vector_at) else {
        return;
    };
    let Some(first) = read::<u32>(bio, index_at) else {
        return;
    };
    let Some(count) = read::<u32>(bio, count_at).map(|both| both & 0xffff) else {
        return;
    };
    let Some(table) = Table::get() else { return };
    let mut index = 0;
    let mut hit = 0;
    while index < MAX_SEGMENTS {
        let segment = first.wrapping_add(index);
        // A cloned bio has no count of its own; its first segment is still valid.
        if index > 0 && segment >= count {
            return;
        }
        let at = vector.wrapping_add(u64::from(segment).wrapping_mul(u64::from(offset!(bio_vec_size))));
        let Some(page) = read::<u64>(at, offset!(bio_vec_page)) else {
            return;
        };
        if table.holds(Target::Page(page)) {
            hit = page;
            break;
        }
        index += 1;
    }
    if hit != 0 {
        report(context, hook, table, context.arg(1), Target::Page(hit));
    }
}
