//! Snapshots of a device, with and without an answer of the kernel.

use std::{fs::File, io::Write as _, path::PathBuf, process::Command};

use p2p_trace_model::event::user;
use tempfile::TempDir;

use super::*;

const DEVICE_READ: DeviceAddress = DeviceAddress::from_devfn(0, 3, 0);

/// The maps of the kernel side, and a sysfs in a folder.
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
            retries: Retries::default(),
            is_attached: true,
        }
    }

    /// Serves one read of the attribute for each answer, and answers during the read, as the program does.
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
        // The previous reader may still be reading until the next request.
        while request.load(ANSWER) != 0 {
            thread::yield_now();
        }
        // Opening blocks until the reader has opened the FIFO, too.
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
fn an_unanswered_read_is_retried_and_finally_fails() {
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
fn nothing_is_retried_without_the_attached_program() {
    let kernel = Kernel::new();
    fs::write(kernel.attribute(), "0x8086\n").unwrap();
    let mut snapshotter = kernel.snapshotter();
    snapshotter.set_attached(false);
    let reading = snapshotter.read(DEVICE_READ, 7).unwrap();
    assert!(!snapshot_end(reading).complete);
    assert_eq!(snapshotter.next_try_ns(), None);
}

#[test]
fn a_vanished_device_is_not_retried() {
    let mut snapshotter = Kernel::new().snapshotter();
    assert!(snapshotter.read(DEVICE_READ, 7).is_none());
    assert_eq!(snapshotter.next_try_ns(), None);
}

#[test]
fn an_answer_ends_the_retries() {
    let kernel = Kernel::new();
    fs::write(kernel.attribute(), "0x8086\n").unwrap();
    let mut snapshotter = kernel.snapshotter();
    assert!(snapshotter.read(DEVICE_READ, 7).is_none());
    // A pool without chunks, then the complete device; and a pool whose chunks cannot be read.
    for (answers, complete) in [([SEEN, SEEN], true), ([SEEN | UNREADABLE, SEEN], false)] {
        let read = kernel.answering(&answers, || snapshotter.read(DEVICE_READ, 8));
        assert_eq!(snapshot_end(read.unwrap()).complete, complete);
        assert_eq!(snapshotter.next_try_ns(), None);
    }
}
