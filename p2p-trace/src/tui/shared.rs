//! State shared between the thread that processes the stream and the drawing thread. Each thread holds a lock only while it
//! copies a pointer or a few words.

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
    /// Counts the published view models.
    published: AtomicU64,
    /// Counts the queries.
    query_number: AtomicU64,
    plays: Mutex<VecDeque<Play>>,
    /// Set when the user requests a dump of the last minutes.
    dump: Arc<AtomicBool>,
    /// A message for the user.
    message: Mutex<Option<String>>,
    finished: AtomicBool,
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
            query_number: AtomicU64::new(0),
            plays: Mutex::default(),
            dump: Arc::default(),
            message: Mutex::default(),
            finished: AtomicBool::new(false),
        }
    }

    /// Publishes a view model.
    pub(crate) fn publish(&self, view_model: ViewModel) {
        let view_model = Arc::new(view_model);
        // Drop the previous one without holding the lock.
        let previous = std::mem::replace(&mut *lock(&self.view_model), view_model);
        drop(previous);
        self.published.fetch_add(1, Ordering::Release);
    }

    /// The latest view model.
    pub(crate) fn view_model(&self) -> Arc<ViewModel> {
        Arc::clone(&lock(&self.view_model))
    }

    /// The number of published view models. It changes when there is a new one.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Replaces the query for holders.
    pub(crate) fn set_query(&self, query: &Query) {
        lock(&self.query).clone_from(query);
        self.query_number.fetch_add(1, Ordering::Release);
    }

    /// The query for holders, and its number.
    pub(crate) fn query(&self) -> (Query, u64) {
        (lock(&self.query).clone(), self.query_number())
    }

    /// A number that identifies the current query.
    pub(crate) fn query_number(&self) -> u64 {
        self.query_number.load(Ordering::Acquire)
    }

    /// Enqueues a command for the replay.
    pub(crate) fn play(&self, play: Play) {
        lock(&self.plays).push_back(play);
    }

    /// Dequeues the next command for the replay.
    pub(crate) fn next_play(&self) -> Option<Play> {
        lock(&self.plays).pop_front()
    }

    /// Set when the user requests a dump of the last minutes, until the request is handled.
    pub(crate) const fn dump(&self) -> &Arc<AtomicBool> {
        &self.dump
    }

    /// Shows a message to the user.
    pub(crate) fn notify(&self, message: String) {
        *lock(&self.message) = Some(message);
    }

    /// Takes the message for the user, if there is a new one.
    pub(crate) fn take_message(&self) -> Option<String> {
        lock(&self.message).take()
    }

    /// Ends the dashboard: no view model follows.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
