//! A redacted recording identifies no machine, from its first byte, and is one run in all its files.

use std::{collections::BTreeSet, fs};

use p2p_trace_common::Hook;
use p2p_trace_dump::{RunItem, samples};

use super::{
    tests::{Live, alloc, open, read, record, records},
    *,
};

#[test]
fn every_file_and_block_is_redacted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.p2pt");
    let limits = Limits { max_size: Some(1), ..Limits::default() };
    let destination = Destination::new_file(path.clone());
    let mut live = Live::of(Options { destination, limits, redact: true, flight: None });
    let allocated = alloc(0);
    live.gain(&[allocated]);
    let mut status = samples::header().status;
    status.hooks[0].error = Some("open /opt/secret".into());
    live.recorder.changed(&status, allocated.time_ns + 1).unwrap();
    let text = format!("alloc: cannot read the pgmap {:#x}", allocated.words[0]);
    live.recorder.diagnostics(&[Diagnostic::new(allocated.time_ns, Level::Warn, &text)]).unwrap();
    let second = dir.path().join("trace.p2pt.1");
    let mut place = 1;
    while place < 20_000 && !second.exists() {
        live.gain(&[record(Kind::Kill, Hook::Kill, Ring::Rare, place)]);
        thread::sleep(Duration::from_millis(1));
        place += 1;
    }
    live.end().unwrap();

    let numbered = |number| dir.path().join(format!("trace.p2pt.{number}"));
    let files: Vec<_> =
        std::iter::once(path).chain((1..live.recorder.recorded().files).map(numbered)).collect();
    let of_run = |path| {
        let file = open(path);
        let header = file.header().clone();
        (header.redacted, header.host, header.status.boot_id, header.status.run)
    };
    let runs: BTreeSet<_> = files.iter().map(|path| of_run(path)).collect();
    let (is_redacted, host, boot, run) = runs.first().unwrap();
    assert_eq!((runs.len(), is_redacted, host), (1, &true, &None), "{runs:?}");
    assert!(*boot != status.boot_id && *run != status.run, "{runs:?}");

    let (items, damage) = read(files.iter().map(|path| open(path)).collect());
    assert_eq!(damage, Vec::<String>::new());
    let found = records(&items);
    assert_eq!(found.len() as u64, place);
    let (restored, _) = read(vec![open(&files[1])]);
    let Some(RunItem::Restore(checkpoint)) = restored.first() else { panic!("{restored:?}") };
    for record in found.iter().chain(&checkpoint.records) {
        assert_eq!(record.run, *run);
        if record.has(p2p_trace_common::valid::TASK) {
            assert_eq!((record.pid, record.comm), (found[0].pid, found[0].comm));
        }
        assert!(
            record.pid != allocated.pid
                && record.comm != allocated.comm
                && record.words[0] != allocated.words[0]
        );
    }
    let text = format!("{items:?}");
    for secret in ["/opt/secret", &format!("{:#x}", allocated.words[0]), "9c1e6b1e-0000"] {
        assert!(!text.contains(secret), "{secret} is not redacted");
        let has = |path| fs::read(path).unwrap().windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!files.iter().any(has), "{secret} is not redacted");
    }
    assert!(text.contains("alloc: cannot read the pgmap 0x"), "the words of the diagnostic are kept");
}
