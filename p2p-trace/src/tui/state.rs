//! What the user has chosen: view, cursor, filter, order. Everything that happens to it is an [`Action`].

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

/// What fills the screen.
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
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Allocated,
        Self::Teardowns,
        Self::Findings,
        Self::Events,
        Self::Rates,
        Self::Rules,
    ];

    /// The name on the screen.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Allocated => "Taken",
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

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The program is to end.
    Quit,
    /// The program is to stop until it is continued.
    Suspend,
    /// The screen holds something else than was drawn.
    Redraw,
    /// Something else is asked of the references.
    Query,
    /// What the view shows is to be written to a file.
    Export,
    /// A dump of the last minutes is to be written.
    Dump,
    /// The replay is to go somewhere.
    Play(Play),
}

/// A line that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    Filter(String),
    /// A time to go to.
    Time(String),
}

/// Where a list's cursor is: on the same thing, wherever it moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) index: usize,
    key: Option<u64>,
}

pub(crate) struct App {
    pub(crate) view_model: Arc<ViewModel>,
    /// The latest there is: another one while the screen is held.
    latest: Arc<ViewModel>,
    /// The screen is held.
    pub(crate) paused: bool,
    pub(crate) theme: Theme,
    /// What fills the screen.
    pub(crate) view: View,
    cursors: [Cursor; View::ALL.len()],
    /// How the lists are ordered; that of the references is part of the query.
    orders: [Order; View::ALL.len()],
    /// The last event is followed.
    pub(crate) follow: bool,
    /// What is asked of the references; the filter is that of all views.
    pub(crate) query: Query,
    /// Only these records are shown among the events: those of a finding.
    pub(crate) evidence: Option<(u32, Vec<Id>)>,
    /// What is being typed.
    pub(crate) prompt: Option<Prompt>,
    /// What is shown in front.
    pub(crate) detail: Option<Detail>,
    /// The help is.
    pub(crate) help: bool,
    /// Something to tell once.
    pub(crate) message: Option<String>,
    /// Lines that a page has.
    pub(crate) page: usize,
    /// The end has come: nothing follows.
    pub(crate) ending: bool,
}

impl App {
    /// With this to show.
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

    /// There is something newer to show.
    pub(crate) fn update(&mut self, view_model: Arc<ViewModel>) {
        self.latest = Arc::clone(&view_model);
        if !self.paused {
            self.view_model = view_model;
            self.settle();
        }
    }

    /// How far what is shown is behind, in nanoseconds.
    pub(crate) fn behind_ns(&self) -> u64 {
        self.latest.now_ns.saturating_sub(self.view_model.now_ns)
    }

    /// A recorded run is shown.
    pub(crate) fn is_replay(&self) -> bool {
        self.view_model.playback.is_some()
    }

    /// Not everything is shown.
    pub(crate) const fn is_narrowed(&self) -> bool {
        !self.query.filter.is_empty() || self.evidence.is_some()
    }

    /// The cursor of the view.
    pub(crate) const fn cursor(&self) -> usize {
        self.cursors[self.view as usize].index
    }

    /// Lines of the view's list.
    pub(crate) fn count(&self) -> usize {
        lists::count(self, self.view)
    }

    /// Puts every cursor back on what it was on.
    fn settle(&mut self) {
        for view in View::ALL {
            let cursor = self.cursors[view as usize];
            let count = lists::count(self, view);
            let last = count.saturating_sub(1);
            if view == View::Events && self.follow {
                self.cursors[view as usize] = Cursor { index: last, key: None };
                continue;
            }
            // Until it is moved, a cursor stays on the first line, whatever that is.
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

    /// Does it, and says what is to be done outside.
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
                    self.message = Some("grouped anew once the screen is not held any more".to_owned());
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

    /// By the next column.
    fn sort(&mut self) -> Option<Effect> {
        if self.view == View::Allocated {
            let is_flat = self.query.grouping == Grouping::Flat;
            self.query.column = self.query.column.next();
            if self.query.column == Column::Address && !is_flat {
                // Of a group there is no address to show.
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

    /// How the list of a view is ordered.
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
                    self.message = Some("its records are older than the events that are kept".to_owned());
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

    /// The column by which the references are ordered, and which way.
    pub(crate) const fn order(&self) -> (Column, bool) {
        (self.query.column, self.query.reversed)
    }
}
