//! The last minutes of a run, in memory, until something happens that is worth a file.
//!
//! They are kept in segments, each a dump that can be read alone: what is too old, or finds no room, goes as a whole segment,
//! and what is left still begins with what was true there.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, mpsc::Sender},
    time::{Duration, Instant},
};

use p2p_trace_model::text::Text;

/// Segments that the history is divided into.
const SEGMENTS: u32 = 8;

/// Where it was written to, or why it could not be.
pub(crate) type Saved = Result<PathBuf, Text>;

/// How much is kept, and who asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// What is older is forgotten.
    pub(crate) history: Duration,
    /// Of more bytes the oldest are forgotten.
    pub(crate) max_bytes: u64,
    /// Somebody wants a file now.
    pub(crate) asked: Arc<AtomicBool>,
    /// It writes only when asked, and tells here what came of it; `None`: also when something is found or the run breaks off.
    pub(crate) only_asked: Option<Sender<Saved>>,
}

/// The segments that are over.
#[derive(Debug)]
pub(super) struct Segments {
    history: Duration,
    max_bytes: u64,
    /// With the time at which each ended, the oldest first.
    ended: VecDeque<(Instant, Vec<u8>)>,
}

impl Segments {
    pub(super) const fn new(flight: &Flight) -> Self {
        Self { history: flight.history, max_bytes: flight.max_bytes, ended: VecDeque::new() }
    }

    /// It is time for another segment when the current one is so old and has so many bytes.
    pub(super) fn is_due(&self, age: Duration, bytes: u64) -> bool {
        age >= self.history / SEGMENTS || bytes >= self.max_bytes / u64::from(SEGMENTS)
    }

    /// One has ended now.
    pub(super) fn push(&mut self, now: Instant, segment: Vec<u8>) {
        self.ended.push_back((now, segment));
    }

    /// Forgets what is too old by now, and what finds no room beside the current segment of so many bytes.
    pub(super) fn forget(&mut self, now: Instant, current: u64) {
        while let Some((ended, segment)) = self.ended.front() {
            let is_old = now.saturating_duration_since(*ended) >= self.history;
            if !is_old && self.bytes().saturating_add(current) <= self.max_bytes {
                return;
            }
            tracing::debug!("{} bytes of history are forgotten", segment.len());
            self.ended.pop_front();
        }
    }

    /// Writes all of it, and `current` behind.
    pub(super) fn write_to(&self, out: &mut impl Write, current: &[u8]) -> io::Result<()> {
        for (_, segment) in &self.ended {
            out.write_all(segment)?;
        }
        out.write_all(current)
    }

    /// Forgets all of it. Returns how many bytes that were.
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
    fn what_is_too_old_or_finds_no_room_is_forgotten_the_oldest_first() {
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
