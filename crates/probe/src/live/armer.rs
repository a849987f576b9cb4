//! The armed hooks at work: the table of ranges that the kernel side compares with, and the thread that attaches and detaches.

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

/// What the thread that attaches and detaches the armed hooks tells.
enum Progress {
    /// A change, and when it was made.
    Made(u64, Change),
    /// The last order is carried out.
    Done,
}

pub(super) struct Armer {
    table: Table,
    arming: Arming,
    is_armed: bool,
    /// Orders to the thread that attaches and detaches the armed hooks, which takes its time.
    orders: mpsc::Sender<Order>,
    progress: mpsc::Receiver<Progress>,
    /// The last watermark: nothing older may be told.
    told_ns: u64,
}

impl Armer {
    /// Nothing is armed yet.
    pub(super) fn new(hooks: Arc<Mutex<Hooks>>, table: Table, vmemmap: Option<(u64, u64)>) -> Self {
        let (orders, progress) = start(hooks);
        Self { table, arming: Arming::new(vmemmap), is_armed: false, orders, progress, told_ns: 0 }
    }

    /// Orders what a record asks for.
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

    /// Appends the changes that were made since the last time. One that was made just before a watermark
    /// that has been told is dated at that: later than it was, never earlier.
    pub(super) fn take_changes(&mut self, writer: &mut Writer, batch: &mut Batch) {
        while let Ok(progress) = self.progress.try_recv() {
            match progress {
                Progress::Made(time_ns, change) => {
                    batch.records.push(writer.attach(time_ns.max(self.told_ns), &change));
                }
                // The status is ready only now.
                Progress::Done => batch.changed = true,
            }
        }
        self.told_ns = self.told_ns.max(batch.watermark_ns);
    }
}

/// Starts the thread that attaches and detaches the armed hooks: each takes the kernel milliseconds, which
/// whoever reads the rings does not have. It ends with the session.
fn start(hooks: Arc<Mutex<Hooks>>) -> (mpsc::Sender<Order>, mpsc::Receiver<Progress>) {
    let (orders, received) = mpsc::channel();
    let (made, progress) = mpsc::channel();
    thread::spawn(move || {
        // What goes on meanwhile is not seen.
        hurry("attaches the armed hooks");
        for order in received {
            // A session that has ended does not want to know.
            let tell = |change| made.send(Progress::Made(now_ns(), change)).unwrap_or_default();
            let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
            match order {
                Order::Arm => hooks.arm(tell),
                Order::Disarm => hooks.disarm(tell),
            }
            drop(hooks);
            made.send(Progress::Done).unwrap_or_default();
        }
    });
    (orders, progress)
}
