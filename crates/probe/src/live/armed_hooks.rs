//! The armed hooks at run time: the table of ranges that the kernel side compares with, and the thread that attaches and detaches.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use p2p_trace_common::Record;
use p2p_trace_model::{
    event::user::{Change, Writer},
    stream::Batch,
};

use super::armed_table::Table;
use crate::{
    arming::{Arming, Order},
    kernel::clock::boottime_ns as now_ns,
    live::{attach::Hooks, priority::hurry},
};

/// A report of the thread that attaches and detaches the armed hooks.
enum Progress {
    /// A change, and its time.
    Made(u64, Change),
    /// The most recent order has been carried out.
    Done,
}

pub(super) struct ArmedHooks {
    table: Table,
    arming: Arming,
    is_armed: bool,
    /// Orders to the thread that attaches and detaches the armed hooks, which is slow.
    orders: mpsc::Sender<Order>,
    progress: mpsc::Receiver<Progress>,
    /// The last watermark: no record with an earlier time may be emitted.
    emitted_ns: u64,
}

impl ArmedHooks {
    /// No hook is armed yet.
    pub(super) fn new(hooks: Arc<Mutex<Hooks>>, table: Table, vmemmap: Option<(u64, u64)>) -> Self {
        let (orders, progress) = start(hooks);
        Self { table, arming: Arming::new(vmemmap), is_armed: false, orders, progress, emitted_ns: 0 }
    }

    /// Sends the order that follows from a record.
    pub(super) fn follow(&mut self, record: &Record) {
        let Some(order) = self.arming.follow(record) else { return };
        self.table.write(self.arming.ranges());
        let arm = order == Order::Arm;
        if arm != self.is_armed {
            self.is_armed = arm;
            if self.orders.send(order).is_err() {
                tracing::error!("the thread that attaches the armed hooks has ended");
            }
        }
    }

    /// Appends the changes since the last call. A change made shortly before a watermark that was already emitted gets the time of
    /// the watermark: later than the change, never earlier.
    pub(super) fn drain_changes(&mut self, writer: &mut Writer, batch: &mut Batch) {
        while let Ok(progress) = self.progress.try_recv() {
            match progress {
                Progress::Made(time_ns, change) => {
                    batch.records.push(writer.attach(time_ns.max(self.emitted_ns), &change));
                }
                // Only now does the status include the changes.
                Progress::Done => batch.changed = true,
            }
        }
        self.emitted_ns = self.emitted_ns.max(batch.watermark_ns);
    }
}

/// Starts the thread that attaches and detaches the armed hooks. The kernel needs milliseconds for each hook, which the reader of
/// the rings cannot spare. The thread ends with the session.
fn start(hooks: Arc<Mutex<Hooks>>) -> (mpsc::Sender<Order>, mpsc::Receiver<Progress>) {
    let (orders, received) = mpsc::channel();
    let (made, progress) = mpsc::channel();
    thread::spawn(move || {
        // Events before the hooks are attached are missed.
        hurry("attaches the armed hooks");
        for order in received {
            // The receiver is gone once the session has ended.
            let report = |change| made.send(Progress::Made(now_ns(), change)).unwrap_or_default();
            let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
            match order {
                Order::Arm => hooks.arm(report),
                Order::Disarm => hooks.disarm(report),
            }
            drop(hooks);
            made.send(Progress::Done).unwrap_or_default();
        }
    });
    (orders, progress)
}
