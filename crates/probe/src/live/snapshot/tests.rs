//! A device whose kernel answers, and one whose kernel does not.

use std::{fs::File, io::Write as _, path::PathBuf, process::Command};

use p2p_trace_model::event::user;
use tempfile::TempDir;

use super::*;

const DEVICE_READ: DeviceAddress = DeviceAddress::from_devfn(0, 3, 0);

/// What the puller maps, and a sysfs of its own.
struct Kernel {
    request: File,
    folder: TempDir,
}

impl Kernel {
    fn new() -> Self {
        let request = tempfile::tempfile().unwrap();
        request.set_len(SNAPSHOT_SIZE as u64).unwrap();
        let kernel = Self { request, folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(kernel.attribute().parent().unwrap()).unwrap();
        kernel
    }

    fn attribute(&self) -> PathBuf {
        let root = KernelRoot::at(self.folder.path());
        root.sys.join(format!("bus/pci/devices/{DEVICE_READ}/vendor"))
    }

    fn snapshotter(&self) -> Snapshotter {
        let bits = tempfile::tempfile().unwrap();
        bits.set_len(BITS_WORDS as u64 * 8).unwrap();
        Snapshotter {
            request: Mapping::writable(&self.request, SNAPSHOT_SIZE).unwrap(),
            bits: Mapping::readable(&bits, BITS_WORDS * 8).unwrap(),
            begin: bits.into(),
            wanted: Vec::new(),
            root: KernelRoot::at(self.folder.path()),
            schedule: Schedule::new(u64::MAX),
            again: Again::default(),
            is_attached: true,
        }
    }

    /// Serves so many reads of the attribute with these answers, in the middle of each, as the program does.
    fn answering<T>(&self, answers: &[u64], read: impl FnOnce() -> T) -> T {
        let fifo = self.attribute();
        fs::remove_file(&fifo).unwrap();
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let request = Mapping::writable(&self.request, SNAPSHOT_SIZE).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || serve(&fifo, &request, answers));
            read()
        })
    }
}

fn serve(fifo: &Path, request: &Mapping, answers: &[u64]) {
    for &answer in answers {
        // Until the next request, whoever read last may still be reading.
        while request.load(ANSWER) != 0 {
            thread::yield_now();
        }
        // Opened once the reader has opened it, too.
        let mut attribute = File::options().write(true).open(fifo).unwrap();
        request.store(ANSWER, answer);
        attribute.write_all(b"0x8086\n").unwrap();
    }
}

fn snapshot_end(reading: Reading) -> SnapshotEnd {
    let records = reading.records(&mut Writer::new(1), 5, 6);
    assert_eq!(records.len(), 1, "it has no runs");
    user::snapshot_end(&records[0]).unwrap()
}

#[test]
fn a_read_that_is_not_answered_is_tried_again_and_fails_in_the_end() {
    let kernel = Kernel::new();
    fs::write(kernel.attribute(), "0x8086\n").unwrap();
    let mut snapshotter = kernel.snapshotter();
    let mut now_ns = 7;
    while snapshotter.read(DEVICE_READ, now_ns).is_none() {
        assert_eq!(snapshotter.due(now_ns), []);
        now_ns = snapshotter.next_try_ns().unwrap();
        assert_eq!(snapshotter.due(now_ns), [DEVICE_READ]);
    }
    assert!(now_ns > 100_000_000, "it was given up after {now_ns} ns");
    assert_eq!(snapshotter.next_try_ns(), None);
    assert!(snapshotter.read(DEVICE_READ, now_ns).is_none());
    let given_up: Vec<_> = snapshotter.give_up().into_iter().map(snapshot_end).collect();
    assert_eq!(given_up.len(), 1);
    assert!(!given_up[0].complete && given_up[0].device == DEVICE_READ);
}

#[test]
fn without_its_program_nothing_is_tried_again() {
    let kernel = Kernel::new();
    fs::write(kernel.attribute(), "0x8086\n").unwrap();
    let mut snapshotter = kernel.snapshotter();
    snapshotter.set_attached(false);
    let reading = snapshotter.read(DEVICE_READ, 7).unwrap();
    assert!(!snapshot_end(reading).complete);
    assert_eq!(snapshotter.next_try_ns(), None);
}

#[test]
fn what_has_vanished_is_not_tried_again() {
    let mut snapshotter = Kernel::new().snapshotter();
    assert!(snapshotter.read(DEVICE_READ, 7).is_none());
    assert_eq!(snapshotter.next_try_ns(), None);
}

#[test]
fn an_answer_ends_the_tries() {
    let kernel = Kernel::new();
    fs::write(kernel.attribute(), "0x8086\n").unwrap();
    let mut snapshotter = kernel.snapshotter();
    assert!(snapshotter.read(DEVICE_READ, 7).is_none());
    // A pool without chunks, then the device as a whole; and one that cannot be followed.
    for (answers, complete) in [([SEEN, SEEN], true), ([SEEN | UNREADABLE, SEEN], false)] {
        let read = kernel.answering(&answers, || snapshotter.read(DEVICE_READ, 8));
        assert_eq!(snapshot_end(read.unwrap()).complete, complete);
        assert_eq!(snapshotter.next_try_ns(), None);
    }
}
