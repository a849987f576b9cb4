//! The dashboard for whoever measures what it costs.

use std::sync::Arc;

use p2p_trace_model::{
    accounting::Status,
    event::{Names, NoSymbols},
    pipeline::Pipeline,
    units::Clock,
};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    keeper::Keeper,
    snapshot::{Query, Snapshot},
    state::{App, View},
    theme::{Palette, Theme},
    views,
};

/// Columns and rows of a large screen.
const SIZE: (u16, u16) = (200, 60);

/// A dashboard of a run, step by step as it works while tracing. No part of the program uses it.
pub struct Measured {
    keeper: Keeper,
    query: Query,
    takers: Arc<super::snapshot::Takers>,
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Measured {
    /// Of a run with this status, with the references `one_by_one` or by process. It shows what is taken.
    #[must_use]
    pub fn new(status: Status, one_by_one: bool) -> Self {
        let clock = Clock { boottime_ns: 0, realtime_ns: 0, utc_offset_s: 0 };
        let status = Arc::new(status);
        let mut query = Query::default();
        if one_by_one {
            query.grouping = super::snapshot::Grouping::Flat;
        }
        let blank = Arc::new(Snapshot::blank(Arc::clone(&status), clock));
        let mut app = App::new(blank, Theme::new(Palette::Rich, false));
        app.view = View::Taken;
        app.query.clone_from(&query);
        let Ok(terminal) = Terminal::new(TestBackend::new(SIZE.0, SIZE.1));
        Self {
            keeper: Keeper::new(status, clock, Names::default()),
            query,
            takers: Arc::default(),
            app,
            terminal,
        }
    }

    /// Looks at every reference: at most one twentieth of the tracing thread's time.
    pub fn look(&mut self, pipeline: &Pipeline) {
        let now_ns = pipeline.reached_ns();
        let takers = self.keeper.takers(pipeline.model(), &self.query, &NoSymbols, now_ns);
        self.takers = Arc::new(takers);
    }

    /// What the tracing thread does for each frame.
    pub fn publish(&mut self, pipeline: &Pipeline) {
        let now_ns = pipeline.reached_ns();
        let snapshot = self.keeper.snapshot(pipeline, &self.takers, now_ns);
        self.app.update(Arc::new(snapshot));
    }

    /// What the drawing thread does for each frame.
    pub fn draw(&mut self) {
        let Self { app, terminal, .. } = self;
        let Ok(_) = terminal.draw(|frame| views::draw(app, frame));
    }
}
