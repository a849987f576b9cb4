//! The history of a flight recorder: the last minutes of a run, in memory.
//!
//! It is divided into segments. Each is a complete dump that begins with a checkpoint, so that old segments can be dropped.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, mpsc::Sender},
    time::{Duration, Instant},
};

use p2p_trace_model::text::Text;

/// Number of segments of the history.
const SEGMENTS: u32 = 8;

/// The path of the written file, or the error.
pub(crate) type Saved = Result<PathBuf, Text>;

/// The limits of the history, and when it is written.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// Older segments are dropped.
    pub(crate) history: Duration,
    /// The maximum size in bytes. The oldest segments are dropped.
    pub(crate) max_bytes: u64,
    /// Set to request a file.
    pub(crate) asked: Arc<AtomicBool>,
    /// If present, the history is written only on request, and this receives the result; `None`: also on a finding, or when the run
    /// breaks off.
    pub(crate) only_asked: Option<Sender<Saved>>,
}

/// The complete segments.
#[derive(Debug)]
pub(super) struct Segments {
    history: Duration,
    max_bytes: u64,
    /// Each with the time of its end, oldest first.
    ended: VecDeque<(Instant, Vec<u8>)>,
}

impl Segments {
    pub(super) const fn new(flight: &Flight) -> Self {
        Self { history: flight.history, max_bytes: flight.max_bytes, ended: VecDeque::new() }
    }

    /// Whether the current segment, with this age and size, is due to end.
    pub(super) fn is_due(&self, age: Duration, bytes: u64) -> bool {
        age >= self.history / SEGMENTS || bytes >= self.max_bytes / u64::from(SEGMENTS)
    }

    /// Adds a segment that ends now.
    pub(super) fn push(&mut self, now: Instant, segment: Vec<u8>) {
        self.ended.push_back((now, segment));
    }

    /// Drops the segments that are too old, or exceed the size together with the current segment of `current` bytes.
    pub(super) fn forget(&mut self, now: Instant, current: u64) {
        while let Some((ended, segment)) = self.ended.front() {
            let is_old = now.saturating_duration_since(*ended) >= self.history;
            if !is_old && self.bytes().saturating_add(current) <= self.max_bytes {
                return;
            }
            tracing::debug!("dropped {} bytes of history", segment.len());
            self.ended.pop_front();
        }
    }

    /// Writes all segments, and `current` after them.
    pub(super) fn write_to(&self, out: &mut impl Write, current: &[u8]) -> io::Result<()> {
        for (_, segment) in &self.ended {
            out.write_all(segment)?;
        }
        out.write_all(current)
    }

    /// Drops all segments. Returns their size in bytes.
    pub(super) fn clear(&mut self) -> u64 {
        let bytes = self.bytes();
        self.ended.clear();
        bytes
    }

    fn bytes(&self) -> u64 {
        self.ended.iter().map(|(_, segment)| segment.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Segments {
        Segments::new(&Flight {
            history: Duration::from_secs(80),
            max_bytes: 800,
            asked: Arc::default(),
            only_asked: None,
        })
    }

    fn written(segments: &mut Segments) -> Vec<u8> {
        let mut out = Vec::new();
        segments.write_to(&mut out, b"now").unwrap();
        assert_eq!(segments.clear() + 3, out.len() as u64);
        out
    }

    #[test]
    fn a_segment_ends_by_age_or_by_size() {
        let segments = segments();
        assert!(!segments.is_due(Duration::from_secs(9), 99));
        assert!(segments.is_due(Duration::from_secs(10), 0));
        assert!(segments.is_due(Duration::ZERO, 100));
    }

    #[test]
    fn segments_are_dropped_by_age_and_by_size() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut kept = segments();
        kept.push(begin, b"a".to_vec());
        kept.push(after(10), b"b".to_vec());
        kept.forget(after(79), 798);
        assert_eq!(kept.ended.len(), 2);
        kept.forget(after(80), 0);
        assert_eq!(written(&mut kept), b"bnow");

        let mut kept = segments();
        kept.push(begin, b"a".to_vec());
        kept.push(begin, b"b".to_vec());
        kept.forget(begin, 799);
        assert_eq!(written(&mut kept), b"bnow");
        assert_eq!(written(&mut kept), b"now");
    }
}
