//! Memory that user space fills, so that a memory dump of the kernel alone suffices: see
//! `p2p_trace_common::crash_image`.

use aya_ebpf::{macros::map, maps::Array};
use p2p_trace_common::{
    crash_image::{IMAGE_PAGES, IMAGES, Page, USER_SLOTS},
    slot::Slot,
};

use crate::ring::MMAPABLE;

#[map]
static USER: Array<Slot> = Array::with_max_entries(USER_SLOTS, MMAPABLE);
#[map]
static CRASH_IMAGE: Array<Page> = Array::with_max_entries(IMAGES * IMAGE_PAGES, MMAPABLE);
