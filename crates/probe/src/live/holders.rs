//! Which of the processes that took memory have exited. Looked up in `/proc` now and then, and written into the
//! stream, so that everything behind it knows as much as a live run did.

use std::collections::HashMap;

use p2p_trace_common::{Kind, Record, valid};
use p2p_trace_model::event::{Task, user::Writer};

use crate::kernel::{
    KernelRoot,
    tasks::{Liveness, Tasks},
};

/// Processes that are remembered; of more, nothing is said.
const LIMIT: usize = 1 << 16;

/// The processes that took memory and were alive when last looked at.
#[derive(Debug)]
pub(super) struct HolderProcesses {
    tasks: Tasks,
    known: HashMap<u32, HolderProcess>,
    /// Most records come from the same process as the one before.
    last: u32,
}

/// One process.
#[derive(Clone, Copy, Debug)]
struct HolderProcess {
    task: Task,
    /// Its first allocation, or its start where another had its number before.
    since_ns: u64,
}

impl HolderProcesses {
    /// Nobody yet.
    pub(super) fn new(root: &KernelRoot) -> Self {
        Self { tasks: Tasks::new(root.clone()), known: HashMap::new(), last: 0 }
    }

    /// Takes note of a record.
    pub(super) fn follow(&mut self, record: &Record) {
        let &Record { pid, tgid, comm, time_ns, .. } = record;
        let takes = matches!(record.kind(), Some(Kind::Alloc | Kind::SglAlloc | Kind::Mmap));
        if !takes || tgid == self.last || !record.has(valid::TASK) || self.tasks.hidden().is_some() {
            return;
        }
        self.last = tgid;
        if self.known.len() < LIMIT {
            self.known
                .entry(tgid)
                .or_insert(HolderProcess { task: Task { pid, tgid, comm }, since_ns: time_ns });
        }
    }

    /// Appends a record for each that has exited since the last time.
    pub(super) fn check(&mut self, now_ns: u64, writer: &mut Writer, out: &mut Vec<Record>) {
        let tasks = &self.tasks;
        self.known.retain(|&tgid, holder| {
            // A number that is in use again is another's since that one was started, which may have taken memory, too.
            let replaced_ns = tasks.started_ns(tgid).filter(|&started_ns| started_ns > holder.since_ns);
            if let Some(replaced_ns) = replaced_ns {
                out.push(writer.exited_before(now_ns, &holder.task, Some(replaced_ns)));
                holder.since_ns = replaced_ns;
            }
            let is_gone = tasks.liveness(tgid, holder.since_ns) == Liveness::Exited;
            if is_gone {
                out.push(writer.gone(now_ns, &holder.task));
            }
            !is_gone
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

    /// Whose number is another's now, and since when.
    fn gone(holders: &mut HolderProcesses) -> Vec<(u32, Option<u64>)> {
        let mut out = Vec::new();
        holders.check(9_000_000_000, &mut Writer::new(1), &mut out);
        let mut gone: Vec<_> = out.iter().map(|record| (record.tgid, exited_before_ns(record))).collect();
        gone.sort_unstable();
        gone
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
    fn who_has_exited_or_was_replaced_is_told_once() {
        let (_folder, root) = setting("pid:[4026531836]");
        for (tgid, ticks) in [(10, 50), (11, 50), (12, 50), (13, 200)] {
            plant(&root, tgid, ticks);
        }
        let mut holders = HolderProcesses::new(&root);
        for tgid in [10, 11, 12, 13, 10, 14] {
            holders.follow(&alloc(tgid, 1_000_000_000));
        }
        // 13 was started after the allocation: that one is somebody else. 14 was never seen alive.
        assert_eq!(gone(&mut holders), [(13, Some(2_000_000_000)), (14, None)]);
        fs::remove_dir_all(root.proc.join("11")).unwrap();
        plant(&root, 12, 300);
        assert_eq!(gone(&mut holders), [(11, None), (12, Some(3_000_000_000))]);
        assert_eq!(gone(&mut holders), []);
        // Who came after it can have taken memory, and exits as well.
        fs::remove_dir_all(root.proc.join("12")).unwrap();
        assert_eq!(gone(&mut holders), [(12, None)]);
        plant(&root, 13, 400);
        assert_eq!(gone(&mut holders), [(13, Some(4_000_000_000))]);
    }

    #[test]
    fn nothing_is_said_in_another_namespace() {
        let (_folder, root) = setting("pid:[4026532000]");
        let mut holders = HolderProcesses::new(&root);
        holders.follow(&alloc(10, 1_000_000_000));
        assert_eq!(gone(&mut holders), []);
    }
}
