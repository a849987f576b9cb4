//! The state of the user interface: view, cursors, filter, order. It changes by [`Action`]s.

use std::sync::Arc;

use p2p_trace_model::event::Id;

use super::{
    detail::{self, Detail},
    keymap::{Action, Play},
    lists,
    order::Order,
    theme::Theme,
    view_model::{Column, Filter, Grouping, Query, ViewModel},
};

/// A view of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Overview,
    Allocated,
    Teardowns,
    Findings,
    Events,
    Rates,
    Rules,
}

impl View {
    /// All views, in the order of their number keys.
    pub(crate) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Allocated,
        Self::Teardowns,
        Self::Findings,
        Self::Events,
        Self::Rates,
        Self::Rules,
    ];

    /// The displayed name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Allocated => "Allocated",
            Self::Teardowns => "Teardowns",
            Self::Findings => "Findings",
            Self::Events => "Events",
            Self::Rates => "Rates",
            Self::Rules => "Rules",
        }
    }

    const fn step(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// A side effect that an action requests from its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// End the program.
    Quit,
    /// Suspend the program until it is continued.
    Suspend,
    /// Draw the complete screen again.
    Redraw,
    /// The query for holders has changed.
    Query,
    /// Export the view to a file.
    Export,
    /// Write a dump of the last minutes.
    Dump,
    /// Send a command to the replay.
    Play(Play),
}

/// An input line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    Filter(String),
    /// A time to go to.
    Time(String),
}

/// The cursor of a list. It follows its item when the list changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) index: usize,
    key: Option<u64>,
}

pub(crate) struct App {
    pub(crate) view_model: Arc<ViewModel>,
    /// The latest view model. It differs from `view_model` while the screen is paused.
    latest: Arc<ViewModel>,
    /// Whether the screen is paused.
    pub(crate) paused: bool,
    pub(crate) theme: Theme,
    /// The current view.
    pub(crate) view: View,
    cursors: [Cursor; View::ALL.len()],
    /// The order of each list. That of the holders is part of the query.
    orders: [Order; View::ALL.len()],
    /// Whether the cursor follows the last event.
    pub(crate) follow: bool,
    /// The query for holders. Its filter applies to all views.
    pub(crate) query: Query,
    /// Restricts the events to the records of a finding: its number, and the records' ids.
    pub(crate) evidence: Option<(u32, Vec<Id>)>,
    /// The input line, if one is open.
    pub(crate) prompt: Option<Prompt>,
    /// The detail pane, if one is open.
    pub(crate) detail: Option<Detail>,
    /// Whether the help is shown.
    pub(crate) help: bool,
    /// A message in the footer, until the next key.
    pub(crate) message: Option<String>,
    /// Lines per page.
    pub(crate) page: usize,
    /// The session is ending; no update follows.
    pub(crate) ending: bool,
}

impl App {
    /// Creates the initial state.
    pub(crate) fn new(view_model: Arc<ViewModel>, theme: Theme) -> Self {
        Self {
            latest: Arc::clone(&view_model),
            view_model,
            paused: false,
            theme,
            view: View::Overview,
            cursors: [Cursor::default(); View::ALL.len()],
            orders: [Order::default(); View::ALL.len()],
            follow: true,
            query: Query::default(),
            evidence: None,
            prompt: None,
            detail: None,
            help: false,
            message: None,
            page: 20,
            ending: false,
        }
    }

    /// Sets a newer view model, which is shown unless the screen is paused.
    pub(crate) fn update(&mut self, view_model: Arc<ViewModel>) {
        self.latest = Arc::clone(&view_model);
        if !self.paused {
            self.view_model = view_model;
            self.settle();
        }
    }

    /// How far the shown view model is behind the latest one, in nanoseconds.
    pub(crate) fn behind_ns(&self) -> u64 {
        self.latest.now_ns.saturating_sub(self.view_model.now_ns)
    }

    /// Whether a recorded run is shown.
    pub(crate) fn is_replay(&self) -> bool {
        self.view_model.playback.is_some()
    }

    /// Whether a filter hides lines.
    pub(crate) const fn is_narrowed(&self) -> bool {
        !self.query.filter.is_empty() || self.evidence.is_some()
    }

    /// The line of the cursor in the current view.
    pub(crate) const fn cursor(&self) -> usize {
        self.cursors[self.view as usize].index
    }

    /// The number of lines in the list of the current view.
    pub(crate) fn count(&self) -> usize {
        lists::count(self, self.view)
    }

    /// Moves every cursor to the line where its item is now.
    fn settle(&mut self) {
        for view in View::ALL {
            let cursor = self.cursors[view as usize];
            let count = lists::count(self, view);
            let last = count.saturating_sub(1);
            if view == View::Events && self.follow {
                self.cursors[view as usize] = Cursor { index: last, key: None };
                continue;
            }
            // A cursor that was never moved stays on the first line.
            let moved = cursor.key.map(|key| {
                let same = (lists::key(self, view, cursor.index) == Some(key)).then_some(cursor.index);
                same.or_else(|| lists::find(self, view, key))
            });
            let index = moved.flatten().unwrap_or(cursor.index).min(last);
            let key = match moved {
                None => None,
                Some(Some(_)) => cursor.key,
                Some(None) => lists::key(self, view, index),
            };
            self.cursors[view as usize] = Cursor { index, key };
        }
    }

    fn move_to(&mut self, index: usize) {
        let index = index.min(self.count().saturating_sub(1));
        if self.view == View::Events {
            self.follow = index + 1 >= self.count();
        }
        self.cursors[self.view as usize] = Cursor { index, key: lists::key(self, self.view, index) };
    }

    fn move_by(&mut self, by: isize) {
        if let Some(detail) = &mut self.detail {
            detail.scroll(by);
        } else {
            self.move_to(self.cursor().saturating_add_signed(by));
        }
    }

    fn show(&mut self, view: View) {
        self.detail = None;
        self.help = false;
        self.view = view;
    }

    /// Applies an action. Returns an effect for the caller to perform.
    pub(crate) fn act(&mut self, action: Action) -> Option<Effect> {
        self.message = None;
        let page = self.page.max(2) as isize - 1;
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Suspend => return Some(Effect::Suspend),
            Action::Redraw => return Some(Effect::Redraw),
            Action::Help => self.help = !self.help,
            Action::Show(view) => self.show(view),
            Action::NextView => self.show(self.view.step(1)),
            Action::PreviousView => self.show(self.view.step(View::ALL.len() - 1)),
            Action::Up => self.move_by(-1),
            Action::Down => self.move_by(1),
            Action::PageUp => self.move_by(-page),
            Action::PageDown => self.move_by(page),
            Action::First => self.move_by(isize::MIN),
            Action::Last => self.move_by(isize::MAX),
            Action::Enter => return self.enter(),
            Action::Back => return self.back(),
            Action::Filter => self.prompt = Some(Prompt::Filter(self.query.filter.text().to_owned())),
            Action::Sort => return self.sort(),
            Action::Reverse => return self.reverse(),
            Action::Group => {
                self.query.grouping = self.query.grouping.next();
                if self.paused {
                    self.message =
                        Some("the new grouping is shown when the screen is no longer paused".to_owned());
                }
                return Some(Effect::Query);
            }
            Action::Pause => {
                self.paused = !self.paused;
                if !self.paused {
                    self.update(Arc::clone(&self.latest));
                }
            }
            Action::Export => return Some(Effect::Export),
            Action::Dump => {
                self.message = Some("writing a dump of the last minutes".to_owned());
                return Some(Effect::Dump);
            }
            Action::Play(Play::Ask) => self.prompt = Some(Prompt::Time(String::new())),
            Action::Play(play) => return Some(Effect::Play(play)),
        }
        None
    }

    /// Sorts by the next column.
    fn sort(&mut self) -> Option<Effect> {
        if self.view == View::Allocated {
            let is_flat = self.query.grouping == Grouping::Flat;
            self.query.column = self.query.column.next();
            if self.query.column == Column::Address && !is_flat {
                // Groups have no address.
                self.query.column = self.query.column.next();
            }
            self.query.reversed = false;
            return Some(Effect::Query);
        }
        let order = &mut self.orders[self.view as usize];
        *order = order.next(lists::columns(self.view));
        self.settle();
        None
    }

    fn reverse(&mut self) -> Option<Effect> {
        if self.view == View::Allocated {
            self.query.reversed = !self.query.reversed;
            return Some(Effect::Query);
        }
        let order = &mut self.orders[self.view as usize];
        order.reversed = !order.reversed;
        self.settle();
        None
    }

    /// The order of a view's list.
    pub(crate) const fn order_of(&self, view: View) -> Order {
        self.orders[view as usize]
    }

    fn enter(&mut self) -> Option<Effect> {
        if self.detail.take().is_some() {
            return None;
        }
        match self.view {
            View::Overview => {
                let device = *lists::devices(self).get(self.cursor())?;
                let address = device.address;
                self.view = View::Allocated;
                return Some(self.filter(&format!("device:{address}")));
            }
            View::Findings => {
                let finding = *lists::findings(self).get(self.cursor())?;
                self.evidence = Some((finding.number, finding.evidence.clone()));
                self.query.filter = Filter::default();
                self.show(View::Events);
                self.follow = false;
                self.move_to(0);
                if self.count() == 0 {
                    self.message = Some("its records are older than the events kept".to_owned());
                }
                return Some(Effect::Query);
            }
            View::Teardowns => {
                let started_ns = lists::teardowns(self).get(self.cursor())?.started_ns;
                let at =
                    lists::events(self).position(|entry| lists::time_of(entry) >= started_ns).unwrap_or(0);
                self.show(View::Events);
                self.follow = false;
                self.move_to(at);
            }
            View::Allocated | View::Events | View::Rules => self.detail = detail::of(self),
            View::Rates => {}
        }
        None
    }

    fn back(&mut self) -> Option<Effect> {
        if self.detail.take().is_some() {
            return None;
        }
        if self.help {
            self.help = false;
            return None;
        }
        if self.evidence.take().is_some() {
            self.show(View::Findings);
            return None;
        }
        Some(self.filter(""))
    }

    pub(crate) fn filter(&mut self, text: &str) -> Effect {
        self.query.filter = Filter::new(text);
        self.evidence = None;
        self.settle();
        Effect::Query
    }

    /// The column that orders the holders, and whether the order is reversed.
    pub(crate) const fn order(&self) -> (Column, bool) {
        (self.query.column, self.query.reversed)
    }
}
