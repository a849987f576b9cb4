//! The generic DMA mapping functions, through which a page of a removed range can go without any p2pdma
//! function being entered. Hot; attached only between a kill with references outstanding and the end of
//! the teardown. They compare page addresses with those of the dying and removed ranges, and never look
//! into a page.

use aya_ebpf::{bpf_printk, macros::map, maps::Array};
use p2p_trace_common::{
    Hook, Kind,
    config::{MAX_ARMED, MISSING},
    counters::ArmedRange,
    valid,
};

use crate::{
    config::{offset, setting},
    context::Context,
    emit::Event,
    hooks::map::client_word,
    memory::read,
    ring::MMAPABLE,
};

/// The ranges to compare with; filled by user space, the first with `page_end` 0 ends the table.
#[map]
static ARMED: Array<ArmedRange> = Array::with_max_entries(MAX_ARMED, MMAPABLE);

/// What is compared with the ranges.
#[derive(Clone, Copy)]
enum What {
    Page(u64),
    Physical(u64),
}

#[inline(always)]
fn find(what: What) -> Option<&'static ArmedRange> {
    let mut index = 0;
    while index < MAX_ARMED {
        let range = ARMED.get(index)?;
        if range.end == 0 {
            return None;
        }
        let hit = match what {
            What::Page(page) => range.page_start <= page && page < range.page_end,
            What::Physical(address) => range.start <= address && address <= range.end,
        };
        if hit {
            return Some(range);
        }
        index += 1;
    }
    None
}

#[inline(always)]
fn emit<C: Context>(context: &C, hook: Hook, range: &ArmedRange, client: u64, what: What) {
    let event = Event::new(Kind::Map, hook)
        .armed()
        .device_word(range.device, valid::DEVICE)
        .pgmap(range.pgmap)
        .caller(context)
        .word_if(3, valid::CLIENT, client_word(client));
    let at = match what {
        What::Page(page) => {
            event.word(0, valid::PAGE, page).emit_rare(context);
            page
        }
        What::Physical(address) => {
            event.word(1, valid::PHYSICAL, address).emit_rare(context);
            address
        }
    };
    tell(range, at);
}

/// The dying or removed range that a page belongs to.
#[inline(always)]
pub(crate) fn of_page(page: u64) -> Option<&'static ArmedRange> {
    find(What::Page(page))
}

/// Says in the kernel's own trace that memory of a removed range is used: what comes next may be the end of this kernel, and
/// its trace carries this out (`ftrace_dump_on_oops`). The line names the task by itself.
#[inline(always)]
pub(crate) fn tell(range: &ArmedRange, at: u64) {
    if range.removed == 0 || setting!(printk) == 0 {
        return;
    }
    // SAFETY: the kernel formats three numbers.
    unsafe {
        bpf_printk!(
            c"p2p-trace: use-after-removal: maps %llx of pgmap %llx, removed up to %llx",
            at,
            range.pgmap,
            range.end
        );
    }
}

#[inline(always)]
fn check<C: Context>(context: &C, hook: Hook, client: u64, what: What) {
    if let Some(range) = find(what) {
        emit(context, hook, range, client, what);
    }
}

/// Entries of a scatter list that are looked at.
const MAX_ENTRIES: u64 = 64;
/// `SG_CHAIN` and `SG_END` in an entry's page pointer.
const CHAIN: u64 = 1;
const END: u64 = 2;

/// Entry of `__dma_map_sg_attrs` or `dma_map_sg_attrs(dev, sg, nents)`.
#[inline(always)]
pub(crate) fn scatter_list<C: Context>(context: &C, hook: Hook) {
    let size = offset!(sg_size);
    if size == MISSING {
        return;
    }
    let count = context.arg(2) as u32;
    let mut entry = context.arg(1);
    let mut seen = 0;
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
            if let Some(range) = find(What::Page(pointer)) {
                emit(context, hook, range, context.arg(0), What::Page(pointer));
                return;
            }
            if link & END != 0 {
                return;
            }
            entry = entry.wrapping_add(u64::from(size));
        }
        seen += 1;
    }
}

/// Entry of `dma_map_page_attrs(dev, page)`.
#[inline(always)]
pub(crate) fn page<C: Context>(context: &C, hook: Hook) {
    check(context, hook, context.arg(0), What::Page(context.arg(1)));
}

/// Entry of `dma_map_phys` or `dma_iova_link(dev, phys)`.
#[inline(always)]
pub(crate) fn physical<C: Context>(context: &C, hook: Hook) {
    check(context, hook, context.arg(0), What::Physical(context.arg(1)));
}

/// Segments of a request that are looked at.
const MAX_SEGMENTS: u32 = 32;

/// Entry of `blk_rq_dma_map_iter_start(req, dma_dev)`: walks the first bio from where its iterator stands.
#[inline(always)]
pub(crate) fn request<C: Context>(context: &C, hook: Hook) {
    let (bio_at, vector_at) = (offset!(request_bio), offset!(bio_io_vec));
    let (index_at, count_at) = (offset!(bio_iter_idx), offset!(bio_vcnt));
    let Some(bio) = read::<u64>(context.arg(0), bio_at) else {
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
    let mut index = 0;
    while index < MAX_SEGMENTS {
        let segment = first.wrapping_add(index);
        // A cloned bio has no count of its own; its first segment is still its first.
        if index > 0 && segment >= count {
            return;
        }
        let at = vector.wrapping_add(u64::from(segment).wrapping_mul(u64::from(offset!(bio_vec_size))));
        let Some(page) = read::<u64>(at, offset!(bio_vec_page)) else {
            return;
        };
        if let Some(range) = find(What::Page(page)) {
            emit(context, hook, range, context.arg(1), What::Page(page));
            return;
        }
        index += 1;
    }
}
