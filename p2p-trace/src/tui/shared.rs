//! What passes between the thread that takes the stream in and the one that draws. Each holds a lock only for as long as it
//! takes to copy a pointer or a few words.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    keymap::Play,
    view_model::{Query, ViewModel},
};

/// See the module.
pub(crate) struct Shared {
    view_model: Mutex<Arc<ViewModel>>,
    query: Mutex<Query>,
    /// Counts what was published and asked.
    published: AtomicU64,
    asked: AtomicU64,
    plays: Mutex<VecDeque<Play>>,
    /// A dump of the last minutes is wanted.
    dump: Arc<AtomicBool>,
    /// What came of something that the user wanted.
    said: Mutex<Option<String>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(view_model: ViewModel) -> Self {
        Self {
            view_model: Mutex::new(Arc::new(view_model)),
            query: Mutex::default(),
            published: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            plays: Mutex::default(),
            dump: Arc::default(),
            said: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// There is something newer to draw.
    pub(crate) fn publish(&self, view_model: ViewModel) {
        let view_model = Arc::new(view_model);
        // What nobody has any more is dropped outside of the lock.
        let before = std::mem::replace(&mut *lock(&self.view_model), view_model);
        drop(before);
        self.published.fetch_add(1, Ordering::Release);
    }

    /// The latest.
    pub(crate) fn view_model(&self) -> Arc<ViewModel> {
        Arc::clone(&lock(&self.view_model))
    }

    /// Another number than before: there is something newer.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Something else is asked of the references.
    pub(crate) fn ask(&self, query: &Query) {
        lock(&self.query).clone_from(query);
        self.asked.fetch_add(1, Ordering::Release);
    }

    /// What is asked, and a number that tells it from what was asked before.
    pub(crate) fn query(&self) -> (Query, u64) {
        (lock(&self.query).clone(), self.asked())
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// The replay is to go somewhere.
    pub(crate) fn play(&self, play: Play) {
        lock(&self.plays).push_back(play);
    }

    /// Where it is to go next.
    pub(crate) fn next_play(&self) -> Option<Play> {
        lock(&self.plays).pop_front()
    }

    /// Set when a dump of the last minutes is wanted, until somebody sees to it.
    pub(crate) const fn dump(&self) -> &Arc<AtomicBool> {
        &self.dump
    }

    /// The user is to be told this.
    pub(crate) fn say(&self, message: String) {
        *lock(&self.said) = Some(message);
    }

    /// What the user is to be told, once.
    pub(crate) fn said(&self) -> Option<String> {
        lock(&self.said).take()
    }

    /// Nothing follows.
    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
