//! Writes into kernel memory what is needed to continue from a memory dump: see `p2p_trace_common::crash_image`.

use std::{io, mem::offset_of, os::fd::AsFd};

use p2p_trace_common::{
    Record,
    counters::COUNTERS_SIZE,
    crash_image::{IMAGE_PAGES, IMAGES, PAGE_MARK, PAGE_PAYLOAD, PAGE_SIZE, PageHead, Tag, USER_SLOTS, mark},
    slot::{SLOT_SIZE, busy, committed, guard},
};
use p2p_trace_model::event::{user, words::from_record};

use super::mapping::Mapping;
use crate::{rings::RingPlan, transport::Image};

/// Maximum size of an image in bytes.
const MAX_IMAGE: usize = IMAGE_PAGES as usize * PAGE_PAYLOAD;

/// Marks the counters of a run, so that a memory dump shows which run they belong to. Must be called before hooks are attached.
///
/// # Errors
///
/// If the counters cannot be mapped.
pub(super) fn tag_counters(counters: impl AsFd, run: u64, rings: &RingPlan) -> io::Result<()> {
    let mapping = Mapping::writable(counters, rings.count as usize * COUNTERS_SIZE)?;
    for number in 0..rings.count {
        let tag = Tag::new(run, number, rings.sharing.shared());
        let first = number as usize * COUNTERS_SIZE / 8;
        for (index, word) in
            [tag.zero, tag.mark, tag.run, tag.cpu, tag.check, tag.rings].into_iter().enumerate()
        {
            mapping.store(first + index, word);
        }
    }
    Ok(())
}

/// The arrays that user space fills.
#[derive(Debug)]
pub(super) struct CrashImageMap {
    user: Mapping,
    images: Mapping,
    run: u64,
    /// Sequence number of the next record to copy.
    next: u64,
    /// Generation of the last image.
    generation: u64,
    /// Place of the last calm image.
    calm: Option<u32>,
    /// Place of the last image.
    last: u32,
}

impl CrashImageMap {
    /// Maps the arrays.
    ///
    /// # Errors
    ///
    /// If they cannot be mapped.
    pub(super) fn new(user: impl AsFd, images: impl AsFd, run: u64) -> io::Result<Self> {
        Ok(Self {
            user: Mapping::writable(user, USER_SLOTS as usize * SLOT_SIZE)?,
            images: Mapping::writable(images, (IMAGES * IMAGE_PAGES) as usize * PAGE_SIZE)?,
            run,
            next: 0,
            generation: 0,
            calm: None,
            last: 0,
        })
    }

    /// Copies the records that user space has written since the last call.
    pub(super) fn records(&mut self, records: &[Record]) {
        for record in records {
            if record.cpu != user::CPU || record.seq < self.next {
                continue;
            }
            self.next = record.seq + 1;
            let position = record.seq;
            let first = (position % u64::from(USER_SLOTS)) as usize * SLOT_SIZE / 8;
            self.user.store(first, busy(position));
            let guarded = Record { guard: guard(position), ..*record };
            for (index, word) in from_record(&guarded).into_iter().enumerate() {
                self.user.store(first + 1 + index, word);
            }
            self.user.store(first, committed(position));
        }
    }

    /// Writes an image in place of the oldest one that is not the last calm one. An image that is too large is omitted.
    pub(super) fn image(&mut self, image: &Image) {
        let bytes = &image.bytes;
        if bytes.len() > MAX_IMAGE {
            tracing::debug!("the image of {} bytes is too large for the crash image", bytes.len());
            return;
        }
        self.generation += 1;
        let place = place(self.last, self.calm);
        let first_page = place as usize * IMAGE_PAGES as usize;
        let pages = bytes.len().div_ceil(PAGE_PAYLOAD).max(1) as u32;
        for (index, part) in bytes.chunks(PAGE_PAYLOAD).enumerate() {
            let page = page(self.run, self.generation, index as u32, pages, part);
            let first = (first_page + index) * PAGE_SIZE / 8;
            for (word, bytes) in page.as_chunks::<8>().0.iter().enumerate() {
                self.images.store(first + word, u64::from_le_bytes(*bytes));
            }
        }
        self.last = place;
        if image.is_calm {
            self.calm = Some(place);
        }
    }
}

/// The place of the next image: not that of the last one, which is needed if the new one is torn, and not that of the last calm one.
fn place(last: u32, calm: Option<u32>) -> u32 {
    let mut places = (1..IMAGES).map(|step| (last + step) % IMAGES);
    places.find(|place| Some(*place) != calm).unwrap_or(last)
}

/// A page of an image.
fn page(run: u64, generation: u64, index: u32, pages: u32, part: &[u8]) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset_of!(PageHead, generation), &generation.to_le_bytes());
    put(offset_of!(PageHead, mark), &mark(PAGE_MARK).to_le_bytes());
    put(offset_of!(PageHead, run), &run.to_le_bytes());
    put(offset_of!(PageHead, index), &index.to_le_bytes());
    put(offset_of!(PageHead, pages), &pages.to_le_bytes());
    put(offset_of!(PageHead, length), &(part.len() as u32).to_le_bytes());
    put(size_of::<PageHead>(), part);
    let crc = crc32c::crc32c(&page[..size_of::<PageHead>() + part.len()]);
    page[offset_of!(PageHead, crc)..][..4].copy_from_slice(&crc.to_le_bytes());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_image_and_the_last_calm_one_are_not_overwritten() {
        let (mut last, mut calm) = (0, None);
        let mut seen = Vec::new();
        for is_calm in [true, true, false, false, false, true, false] {
            let next = place(last, calm);
            assert!(next != last && Some(next) != calm, "{next} after {seen:?}");
            last = next;
            if is_calm {
                calm = Some(next);
            }
            seen.push(next);
        }
    }
}
