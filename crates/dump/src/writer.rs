//! Writes a dump, block by block, to any writer.

use std::{
    collections::HashMap,
    io::{self, Write},
    mem,
};

use p2p_trace_model::{
    accounting::{Status, Totals},
    names::Hex,
    pipeline::Slice,
    stream::Diagnostic,
    text::Text,
};
use serde::Serialize;

use super::{
    block::{BlockHeader, FORMAT, Kind, MAX_CONTENT, checksum},
    checkpoint::Checkpoint,
    codec,
    describe::{Diagnostics, Footer, Header, Reason, StatusChange, Symbols},
    records::{Counts, MAX_ITEMS, Records},
};

/// Number of names that are remembered as written. Further names are written again.
const MAX_NAMES: usize = 1 << 18;
/// Maximum number of names in one block.
const NAMES_PER_BLOCK: usize = 4096;

/// Writes the files of one run.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    header: Header,
    /// Number of the next block.
    number: u32,
    /// Counts of the written and the pending items.
    counts: Counts,
    pending: Records,
    items: usize,
    /// Names that were written to the file, or are about to be.
    names: HashMap<u64, Text>,
    new_names: Vec<(Hex, Text)>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins the first file of a run. Items are written when a block is full, or by [`Writer::flush`].
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn new(out: W, header: Header) -> io::Result<Self> {
        let mut writer = Self {
            out,
            header,
            number: 0,
            counts: Counts::default(),
            pending: Records::default(),
            items: 0,
            names: HashMap::new(),
            new_names: Vec::new(),
            written: 0,
        };
        writer.begin()?;
        Ok(writer)
    }

    /// Bytes written to the current file.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The counts of the run.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The underlying writer.
    pub const fn get_ref(&self) -> &W {
        &self.out
    }

    /// The underlying writer, mutable.
    pub const fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// The name of an address, given before the slice that needs it. A known name costs nothing.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn symbol(&mut self, address: u64, name: &Text) -> io::Result<()> {
        match self.names.get(&address) {
            Some(known) if known == name => return Ok(()),
            // Pending records still refer to the old name.
            Some(_) => self.close_block()?,
            None => {}
        }
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(address, name.clone());
        self.new_names.push((Hex(address), name.clone()));
        if self.new_names.len() >= NAMES_PER_BLOCK {
            self.write_names()?;
        }
        Ok(())
    }

    /// Adds records of the stream.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn slice(&mut self, slice: &Slice) -> io::Result<()> {
        if slice.items.is_empty() {
            if let Some(last) = self.pending.slices.last_mut() {
                // Nothing happened between the two slices.
                last.watermark_ns = slice.watermark_ns;
            } else {
                self.pending.before = self.counts;
                self.pending.slices.push(slice.clone());
            }
            return Ok(());
        }
        let mut rest = slice.items.as_slice();
        while let Some(last) = rest.get(rest.len().min(MAX_ITEMS - self.items) - 1) {
            let (part, behind) = rest.split_at(rest.len().min(MAX_ITEMS - self.items));
            rest = behind;
            if self.pending.slices.is_empty() {
                self.pending.before = self.counts;
            }
            // Up to its last item a part of a slice is complete.
            let watermark_ns = if rest.is_empty() { slice.watermark_ns } else { last.time_ns() };
            for item in part {
                self.counts.add(item);
            }
            self.items += part.len();
            self.pending.slices.push(Slice { items: part.to_vec(), watermark_ns });
            if self.items >= MAX_ITEMS {
                self.close_block()?;
            }
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Adds a status change at `time_ns`, `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn status(&mut self, status: &Status, time_ns: u64) -> io::Result<()> {
        self.close_block()?;
        self.header.status = status.clone();
        self.counts.statuses = self.counts.statuses.wrapping_add(1);
        let change = StatusChange { time_ns, status: status.clone() };
        self.json(Kind::Status, &change)
    }

    /// Adds log statements of the kernel side. They are written at once, in front of pending records, since
    /// they have times of their own.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn diagnostics(&mut self, messages: Vec<Diagnostic>) -> io::Result<()> {
        self.json(Kind::Diagnostics, &Diagnostics { messages })
    }

    /// Marks a gap of unknown content here, which readers recognize by the counts.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn gap(&mut self) -> io::Result<()> {
        self.close_block()?;
        self.counts.user = self.counts.user.wrapping_add(1);
        Ok(())
    }

    /// Adds a checkpoint: the state after everything that was given to the writer so far.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.close_block()?;
        for part in checkpoint.parts(self.counts) {
            self.block(Kind::Checkpoint, part.content, part.records)?;
        }
        Ok(())
    }

    /// Writes all pending items, so that only `out` may still buffer them.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.close_block()?;
        self.out.flush()
    }

    /// Ends the file and continues in another one, which begins with the checkpoint. Returns the previous
    /// writer.
    ///
    /// # Errors
    ///
    /// If one of the two cannot be written to.
    pub fn rotate(&mut self, out: W, checkpoint: &Checkpoint) -> io::Result<W> {
        let ended = self.end(Reason::Rotated, 0, None);
        let before = mem::replace(&mut self.out, out);
        self.header.file = self.header.file.wrapping_add(1);
        self.written = 0;
        let names = mem::take(&mut self.names);
        self.new_names.clear();
        self.begin()?;
        for address in checkpoint.addresses() {
            if let Some(name) = names.get(&address) {
                self.symbol(address, name)?;
            }
        }
        self.write_names()?;
        self.checkpoint(checkpoint)?;
        ended.map(|()| before)
    }

    /// Ends the last file of the run. `totals` are the kernel's counters, if known.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written to.
    pub fn finish(mut self, reason: Reason, duration_ns: u64, totals: Option<Totals>) -> io::Result<W> {
        self.end(reason, duration_ns, totals)?;
        Ok(self.out)
    }

    /// Writes the header twice: without it the records cannot be interpreted.
    fn begin(&mut self) -> io::Result<()> {
        let header = self.header.clone();
        self.json(Kind::Header, &header)?;
        self.json(Kind::Header, &header)?;
        self.out.flush()
    }

    /// Ends the file like [`Writer::finish`], and keeps the underlying writer.
    ///
    /// # Errors
    ///
    /// If it cannot be written to.
    pub fn end(&mut self, reason: Reason, duration_ns: u64, totals: Option<Totals>) -> io::Result<()> {
        self.close_block()?;
        let footer = Footer { reason, duration_ns, totals, counts: self.counts };
        self.json(Kind::Footer, &footer)?;
        self.out.flush()
    }

    fn close_block(&mut self) -> io::Result<()> {
        self.write_names()?;
        if self.pending.slices.is_empty() {
            return Ok(());
        }
        let records = mem::take(&mut self.pending);
        let items = mem::take(&mut self.items);
        self.block(Kind::Records, records.to_bytes(), items)
    }

    fn write_names(&mut self) -> io::Result<()> {
        if self.new_names.is_empty() {
            return Ok(());
        }
        let symbols = Symbols { names: mem::take(&mut self.new_names) };
        let written = self.json(Kind::Symbols, &symbols);
        if written.is_err() {
            for (address, _) in &symbols.names {
                self.names.remove(&address.0);
            }
        }
        written
    }

    fn json(&mut self, kind: Kind, value: &impl Serialize) -> io::Result<()> {
        let content = serde_json::to_vec(value)?;
        self.block(kind, content, 0)
    }

    /// Writes a block whose content ends with `records` records, as slots.
    fn block(&mut self, kind: Kind, content: Vec<u8>, records: usize) -> io::Result<()> {
        let decoded = content.len();
        if decoded > MAX_CONTENT {
            return Err(io::Error::other(format!(
                "a {} block of {decoded} bytes is too large for a dump",
                kind.name()
            )));
        }
        let (codec, stored) = codec::encode(content, records);
        let header = BlockHeader {
            format: FORMAT,
            kind: kind as u8,
            codec,
            stored: stored.len() as u32,
            decoded: decoded as u32,
            crc: checksum(&stored),
            number: self.number,
        };
        self.number = self.number.wrapping_add(1);
        let mut bytes = Vec::with_capacity(super::block::HEADER_SIZE + stored.len());
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(&stored);
        // In one call, so that a killed process mostly leaves a complete block.
        self.out.write_all(&bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
