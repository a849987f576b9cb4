//! User mappings: `p2pmem_alloc_mmap` allocates memory without `pci_alloc_p2pmem`, with one
//! reference per page, and each page is freed separately.

use p2p_trace_common::{Hook, Kind, config::MISSING, statement::What, valid};

use crate::{
    burst,
    config::offset,
    context::Context,
    device::{self, Address},
    emit::Event,
    hooks::armed,
    memory::read,
    notes, pgmap, say,
};

/// Entry of `p2pmem_alloc_mmap(filp, kobj)`: until its exit, this task's `vm_insert_page` calls are
/// counted.
#[inline(always)]
pub(crate) fn enter<C: Context>(context: &C, hook: Hook) {
    notes::put(notes::of_task(Hook::MmapEnter), [0; 6]);
    armed::attempt(context, Event::new(Kind::AllocAttempt, hook).caller(context), device_of(context.arg(0)));
}

/// Entry of `vm_insert_page(vma, addr, page)`.
#[inline(always)]
pub(crate) fn insert_page<C: Context>(context: &C, _: Hook) {
    let Some(note) = notes::get_mut(notes::of_task(Hook::MmapEnter)) else {
        return;
    };
    // SAFETY: the pointer is to a note, which only the current task changes.
    unsafe {
        if (*note)[0] == 0 {
            (*note)[1] = context.arg(1);
        }
        (*note)[0] += 1;
    }
}

/// The device whose `p2pmem` attribute a kobject belongs to.
#[inline(always)]
fn device_of(kobj: u64) -> Option<Address> {
    let (within_device, within_pci) = (offset!(device_kobj), offset!(pci_dev_dev));
    if within_device == MISSING || within_pci == MISSING {
        return None;
    }
    let pci_dev = kobj.wrapping_sub(u64::from(within_device)).wrapping_sub(u64::from(within_pci));
    device::of_pci_dev_untyped(pci_dev)
}

/// Exit of `p2pmem_alloc_mmap(filp, kobj, attr, vma)`. If it fails midway, the pages inserted so
/// far stay and are freed one by one later; the last page counted is the one that failed.
#[inline(always)]
pub(crate) fn leave<C: Context>(context: &C, hook: Hook) {
    let note = notes::get(notes::of_task(Hook::MmapEnter));
    if note.is_some() {
        notes::remove(notes::of_task(Hook::MmapEnter));
    }
    let kobj = context.arg(0);
    let address = device_of(kobj);
    if address.is_none() {
        say::unread(hook, What::DeviceOfAttribute, kobj);
    }
    if !device::is_wanted(hook, address) {
        return;
    }
    let vma = context.arg(1);
    let result = context.ret() as i32;
    let event = Event::new(Kind::Mmap, hook).device(address).cgroup().small(valid::RET, result as u16);
    let start: Option<u64> = read(vma, offset!(vma_start));
    let end: Option<u64> = read(vma, offset!(vma_end));
    let event = if let (Some(start), Some(end)) = (start, end) {
        event.word(0, valid::USER_ADDR, start).word(1, valid::SIZE, end.wrapping_sub(start))
    } else {
        say::unread(hook, What::Mapping, vma);
        event
    };
    let Some([calls, page, ..]) = note else {
        event.emit_hot(context);
        return;
    };
    let inserted = if result < 0 && calls > 0 { calls - 1 } else { calls };
    let event = event.number(valid::COUNT, inserted as u32);
    // Without a call no memory was allocated. If the first page was refused, that page gives the
    // range.
    if calls == 0 {
        event.emit_hot(context);
        return;
    }
    event.word(2, valid::PAGE, page).pgmap(read(page, offset!(page_pgmap)).unwrap_or(0)).emit_hot(context);
}

/// Entry of `p2pdma_folio_free` or `p2pdma_page_free`.
#[inline(always)]
pub(crate) fn page_free<C: Context>(context: &C, _: Hook) {
    let page = context.arg(0);
    let range: u64 = read(page, offset!(page_pgmap)).unwrap_or(0);
    if pgmap::is_p2pdma(range) {
        burst::add::<C>(page, range);
    }
}
