//! The cause of a blocked unbind, derived from the events alone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::scenarios::product::{EventLine, Hex, address};
use crate::scenarios::stream::Stream;

/// Bytes of one page.
const PAGE: u64 = 4096;
/// An unbind that is not blocked takes far less time.
const NOTABLE: Duration = Duration::from_secs(1);

/// A teardown and what blocked it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blockage {
    device: String,
    /// From the kill of the range's reference to its drain.
    blocked: Duration,
    /// The tasks whose memory was still allocated when the range was killed.
    holders: Vec<Holder>,
    /// The wrong order of steps, if any.
    disorder: Option<String>,
    lost: u64,
    /// Losses among them that are skipped runs, for which no record was ever written.
    skipped: u64,
}

/// A process and its allocated memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    comm: String,
    pid: u32,
    bytes: u64,
}

impl Blockage {
    /// Finds the teardown of a device in a stream.
    ///
    /// # Errors
    ///
    /// The stream does not have exactly one kill, drain, removal and release of the device.
    pub(super) fn find(stream: &Stream, device: &str) -> Result<Self> {
        let step = |kind: &'static str| -> Result<(usize, &EventLine)> {
            let of_device = |event: &&EventLine| {
                event.kind.name() == kind && address(event.device).as_deref() == Some(device)
            };
            let mut found = stream.events.iter().enumerate().filter(|(_, event)| of_device(event));
            let first = found.next().with_context(|| format!("{device}: no event `{kind}`"))?;
            ensure!(found.next().is_none(), "{device}: there is more than one event `{kind}`");
            Ok(first)
        };
        let kinds = ["kill", "drained", "remove", "release"];
        let places: Vec<(usize, &EventLine)> = kinds.into_iter().map(step).collect::<Result<_>>()?;
        let disorder = places
            .windows(2)
            .find(|pair| pair[0].0 > pair[1].0)
            .map(|pair| format!("{} before {}", pair[1].1.kind.name(), pair[0].1.kind.name()));
        let (kill, drained) = (places[0], places[1]);
        Ok(Self {
            device: device.to_owned(),
            blocked: Duration::from_nanos(drained.1.time_ns.saturating_sub(kill.1.time_ns)),
            holders: holders(&stream.events[..kill.0], device),
            disorder,
            lost: stream.summary()?.lost,
            skipped: stream.summary()?.skipped,
        })
    }

    /// Checks that this is the scenario of the demo.
    ///
    /// # Errors
    ///
    /// Says what is missing or wrong.
    pub(super) fn check(&self) -> Result<()> {
        let Self { device, blocked, holders, disorder, lost, skipped } = self;
        ensure!(*blocked >= NOTABLE, "{device}: the unbind was not blocked ({:.1} s)", blocked.as_secs_f64());
        ensure!(
            !holders.is_empty(),
            "{device}: no allocation of the memory that was held at the kill was recorded"
        );
        if let Some(disorder) = disorder {
            anyhow::bail!("{device}: the steps were out of order: {disorder}");
        }
        // Skips are up to the kernel, and every step above was recorded.
        let lost = lost.saturating_sub(*skipped);
        ensure!(lost == 0, "{device}: {lost} events were lost, so that the result is uncertain");
        Ok(())
    }
}

impl fmt::Display for Blockage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: unbind blocked {:.1} s by ", self.device, self.blocked.as_secs_f64())?;
        for (index, Holder { comm, pid, bytes }) in self.holders.iter().enumerate() {
            let separator = if index > 0 { " and " } else { "" };
            write!(f, "{separator}{} KiB held by {comm} (pid {pid})", bytes / 1024)?;
        }
        match &self.disorder {
            None => f.write_str("; in order")?,
            Some(disorder) => write!(f, "; out of order: {disorder}")?,
        }
        write!(f, "; {} lost", self.lost)?;
        match self.skipped {
            0 => Ok(()),
            count => write!(f, " ({count} skipped)"),
        }
    }
}

/// The tasks whose memory of a device is still allocated according to these events.
fn holders(events: &[EventLine], device: &str) -> Vec<Holder> {
    let mut mapped: BTreeMap<u32, Holder> = BTreeMap::new();
    let mut allocated: BTreeMap<u64, Holder> = BTreeMap::new();
    for event in events.iter().filter(|event| address(event.device).as_deref() == Some(device)) {
        let (pid, bytes) = (event.tgid.unwrap_or_default(), event.size.unwrap_or_default());
        let holder = || Holder { comm: event.comm.clone().unwrap_or_default(), pid, bytes };
        match (event.kind.name(), event.addr) {
            ("alloc", Some(Hex(addr))) => drop(allocated.insert(addr, holder())),
            ("free", Some(Hex(addr))) => drop(allocated.remove(&addr)),
            ("mmap", _) if event.ret.is_none_or(|ret| ret == 0) => {
                mapped.entry(pid).and_modify(|known| known.bytes += bytes).or_insert_with(holder);
            }
            // The task that unmaps a page identifies its owner, as long as no other task unmaps it.
            ("page_free", _) => {
                if let Some(known) = mapped.get_mut(&pid) {
                    known.bytes = known.bytes.saturating_sub(event.count.map_or(1, u64::from) * PAGE);
                }
            }
            _ => {}
        }
    }
    mapped.into_values().chain(allocated.into_values()).filter(|holder| holder.bytes > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::stream::tests::stream;

    const HOOKS: &str = r#"{"hook":"kill","method":"fentry","hits":0,"delivered":0,"lost":0}"#;

    fn find(events: &[(u64, u64, &str)]) -> Result<Blockage> {
        Blockage::find(&Stream::parse(&stream(events, HOOKS)).unwrap(), "0000:03:00.0")
    }

    const QUEUE: &str = r#""kind":"alloc","addr":"0x1","size":65536,"tgid":7,"comm":"kworker""#;
    const QUEUE_FREE: &str = r#""kind":"free","addr":"0x1","size":65536,"tgid":9,"comm":"sh""#;
    const OTHER: &str = r#""kind":"mmap","size":8192,"tgid":8,"comm":"p2pmap","ret":0"#;
    const OTHER_FREE: &str = r#""kind":"page_free","count":2,"tgid":8,"comm":"p2pmap""#;
    const MAP: &str = r#""kind":"mmap","size":65536,"tgid":132,"comm":"p2pdio","ret":0"#;
    const KILL: &str = r#""kind":"kill","tgid":9,"comm":"sh""#;
    const MAP_FREE: &str = r#""kind":"page_free","count":16,"tgid":132,"comm":"p2pdio""#;
    const DRAINED: &str = r#""kind":"drained","tgid":132,"comm":"p2pdio""#;
    const REMOVE: &str = r#""kind":"remove""#;
    const RELEASE: &str = r#""kind":"release""#;

    #[test]
    fn names_the_holder() {
        let blockage = find(&[
            (1, 0, QUEUE),
            (2, 2, OTHER),
            (3, 4, OTHER_FREE),
            (4, 6, MAP),
            (5, 8, QUEUE_FREE),
            (1_000_000_000, 1, KILL),
            (3_690_000_000, 10, MAP_FREE),
            (3_700_000_000, 3, DRAINED),
            (3_700_000_001, 5, REMOVE),
            (3_700_000_002, 7, RELEASE),
        ])
        .unwrap();
        blockage.check().unwrap();
        assert_eq!(
            blockage.to_string(),
            "0000:03:00.0: unbind blocked 2.7 s by 64 KiB held by p2pdio (pid 132); in order; 0 lost"
        );
    }

    #[test]
    fn reports_losses_of_the_stream() {
        let events = [
            (1, 0, MAP),
            (2, 1, KILL),
            (2_000_000_003, 3, DRAINED),
            (2_000_000_004, 5, REMOVE),
            (2_000_000_005, 7, RELEASE),
        ];
        let mut lines = stream(&events, HOOKS);
        let last = lines.len() - 1;
        let find = |lines: &[String]| Blockage::find(&Stream::parse(lines).unwrap(), "0000:03:00.0").unwrap();
        lines[last] = lines[last].replace("\"lost\":0,\"dur", "\"lost\":1,\"skipped\":1,\"dur");
        let skipped = find(&lines);
        skipped.check().unwrap();
        assert!(skipped.to_string().ends_with("; in order; 1 lost (1 skipped)"), "{skipped}");
        lines[last] = lines[last].replace("\"skipped\":1", "\"skipped\":0");
        let error = find(&lines).check().unwrap_err().to_string();
        assert!(error.contains("1 events were lost"), "{error}");
    }

    #[test]
    fn reports_a_wrong_order() {
        let blockage = find(&[
            (1, 0, MAP),
            (2, 1, KILL),
            (3, 5, REMOVE),
            (2_000_000_002, 3, DRAINED),
            (2_000_000_003, 7, RELEASE),
        ])
        .unwrap();
        assert!(blockage.to_string().contains("out of order: remove before drained"), "{blockage}");
        assert!(blockage.check().unwrap_err().to_string().contains("the steps were out of order"));
    }

    #[test]
    fn rejects_an_unbind_that_is_not_blocked() {
        let quick = [(1, 0, MAP), (2, 1, KILL), (3, 3, DRAINED), (4, 5, REMOVE), (5, 7, RELEASE)];
        assert!(find(&quick).unwrap().check().unwrap_err().to_string().contains("not blocked"));
        let mut slow = quick;
        for step in &mut slow[2..] {
            step.0 += 2_000_000_000;
        }
        find(&slow).unwrap().check().unwrap();
        let unallocated = find(&slow[1..]).unwrap();
        assert!(unallocated.check().unwrap_err().to_string().contains("no allocation"));
    }

    #[test]
    fn rejects_a_missing_teardown() {
        let error = find(&[(1, 0, MAP), (2, 1, KILL)]).unwrap_err().to_string();
        assert_eq!(error, "0000:03:00.0: no event `drained`");
    }
}
