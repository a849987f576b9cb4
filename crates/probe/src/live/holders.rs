//! Detects which processes that allocated memory have exited. `/proc` is polled from time to time, and the result is written into
//! the stream, so that consumers of a dump know as much as a live run does.

use std::collections::HashMap;

use p2p_trace_common::{Kind, Record, valid};
use p2p_trace_model::event::{Task, user::Writer};

use crate::kernel::{
    KernelRoot,
    tasks::{Liveness, Tasks},
};

/// Maximum number of processes to track; others are not reported.
const LIMIT: usize = 1 << 16;

/// The processes that allocated memory and were alive at the last check.
#[derive(Debug)]
pub(super) struct HolderProcesses {
    tasks: Tasks,
    known: HashMap<u32, HolderProcess>,
    /// Process of the last record; most records come from the same process as the one before.
    last: u32,
}

/// A process that allocated memory.
#[derive(Clone, Copy, Debug)]
struct HolderProcess {
    task: Task,
    /// Its first allocation, or its start time if another process had the id before.
    since_ns: u64,
}

impl HolderProcesses {
    /// No process is tracked yet.
    pub(super) fn new(root: &KernelRoot) -> Self {
        Self { tasks: Tasks::new(root.clone()), known: HashMap::new(), last: 0 }
    }

    /// Tracks the process of a record.
    pub(super) fn follow(&mut self, record: &Record) {
        let &Record { pid, tgid, comm, time_ns, .. } = record;
        let allocates = matches!(record.kind(), Some(Kind::Alloc | Kind::SglAlloc | Kind::Mmap));
        if !allocates || tgid == self.last || !record.has(valid::TASK) || self.tasks.hidden().is_some() {
            return;
        }
        self.last = tgid;
        if self.known.len() < LIMIT {
            self.known
                .entry(tgid)
                .or_insert(HolderProcess { task: Task { pid, tgid, comm }, since_ns: time_ns });
        }
    }

    /// Appends a record for each process that has exited since the last check.
    pub(super) fn check(&mut self, now_ns: u64, writer: &mut Writer, records: &mut Vec<Record>) {
        let tasks = &self.tasks;
        self.known.retain(|&tgid, holder| {
            // If the number is in use again, it belongs to another process since that one started, which may have allocated memory, too.
            let replaced_ns = tasks.started_ns(tgid).filter(|&started_ns| started_ns > holder.since_ns);
            if let Some(replaced_ns) = replaced_ns {
                records.push(writer.exited_before(now_ns, &holder.task, Some(replaced_ns)));
                holder.since_ns = replaced_ns;
            }
            let has_exited = tasks.liveness(tgid, holder.since_ns) == Liveness::Exited;
            if has_exited {
                records.push(writer.gone(now_ns, &holder.task));
            }
            !has_exited
        });
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use p2p_trace_model::event::user::{blank, exited_before_ns};

    fn plant(root: &KernelRoot, tgid: u32, ticks: u64) {
        let folder = root.proc.join(tgid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let stat = format!("{tgid} (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n");
        fs::write(folder.join("stat"), stat).unwrap();
    }

    fn alloc(tgid: u32, time_ns: u64) -> Record {
        Record { kind: Kind::Alloc as u8, valid: valid::TASK, tgid, pid: tgid, time_ns, ..blank(1) }
    }

    /// Process ids of reported exits; if the id is in use again, with the start time of the new process.
    fn exited(holders: &mut HolderProcesses) -> Vec<(u32, Option<u64>)> {
        let mut records = Vec::new();
        holders.check(9_000_000_000, &mut Writer::new(1), &mut records);
        let mut exited: Vec<_> =
            records.iter().map(|record| (record.tgid, exited_before_ns(record))).collect();
        exited.sort_unstable();
        exited
    }

    fn setting(namespace: &str) -> (tempfile::TempDir, KernelRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(folder.path());
        fs::create_dir_all(root.proc.join("self/ns")).unwrap();
        symlink(namespace, root.proc.join("self/ns/pid")).unwrap();
        plant(&root, 1, 1);
        (folder, root)
    }

    #[test]
    fn check_reports_exited_and_replaced_processes_once() {
        let (_folder, root) = setting("pid:[4026531836]");
        for (tgid, ticks) in [(10, 50), (11, 50), (12, 50), (13, 200)] {
            plant(&root, tgid, ticks);
        }
        let mut holders = HolderProcesses::new(&root);
        for tgid in [10, 11, 12, 13, 10, 14] {
            holders.follow(&alloc(tgid, 1_000_000_000));
        }
        // 13 was started after the allocation, so it is another process. 14 was never seen alive.
        assert_eq!(exited(&mut holders), [(13, Some(2_000_000_000)), (14, None)]);
        fs::remove_dir_all(root.proc.join("11")).unwrap();
        plant(&root, 12, 300);
        assert_eq!(exited(&mut holders), [(11, None), (12, Some(3_000_000_000))]);
        assert_eq!(exited(&mut holders), []);
        // The process that replaced it may have allocated memory, so its exit is reported as well.
        fs::remove_dir_all(root.proc.join("12")).unwrap();
        assert_eq!(exited(&mut holders), [(12, None)]);
        plant(&root, 13, 400);
        assert_eq!(exited(&mut holders), [(13, Some(4_000_000_000))]);
    }

    #[test]
    fn check_reports_nothing_in_another_pid_namespace() {
        let (_folder, root) = setting("pid:[4026532000]");
        let mut holders = HolderProcesses::new(&root);
        holders.follow(&alloc(10, 1_000_000_000));
        assert_eq!(exited(&mut holders), []);
    }
}
