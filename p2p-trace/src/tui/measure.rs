//! The dashboard for benchmarks.

use std::sync::Arc;

use p2p_trace_model::{
    accounting::Status,
    event::{Names, NoSymbols},
    pipeline::Pipeline,
    units::Clock,
};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    history::History,
    state::{App, View},
    theme::{Palette, Theme},
    view_model::{Query, ViewModel},
    views,
};

/// Columns and rows of a large terminal.
const SIZE: (u16, u16) = (200, 60);

/// A dashboard whose steps can be run one by one. Only benchmarks use it.
pub struct Measured {
    history: History,
    query: Query,
    holders: Arc<super::view_model::HolderTable>,
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Measured {
    /// Creates a dashboard that shows the allocated memory, `one_by_one` or by process.
    #[must_use]
    pub fn new(status: Status, one_by_one: bool) -> Self {
        let clock = Clock { boottime_ns: 0, realtime_ns: 0, utc_offset_s: 0 };
        let status = Arc::new(status);
        let mut query = Query::default();
        if one_by_one {
            query.grouping = super::view_model::Grouping::Flat;
        }
        let blank = Arc::new(ViewModel::blank(Arc::clone(&status), clock));
        let mut app = App::new(blank, Theme::new(Palette::Rich, false));
        app.view = View::Allocated;
        app.query.clone_from(&query);
        let Ok(terminal) = Terminal::new(TestBackend::new(SIZE.0, SIZE.1));
        Self {
            history: History::new(status, clock, Names::default()),
            query,
            holders: Arc::default(),
            app,
            terminal,
        }
    }

    /// Updates the table of holders, which visits every reference: at most 1/20 of the tracing thread's time.
    pub fn update_holders(&mut self, pipeline: &Pipeline) {
        let now_ns = pipeline.reached_ns();
        let holders = self.history.holders(pipeline.model(), &self.query, &NoSymbols, now_ns);
        self.holders = Arc::new(holders);
    }

    /// Publishes a view model, as the tracing thread does for each frame.
    pub fn publish(&mut self, pipeline: &Pipeline) {
        let now_ns = pipeline.reached_ns();
        let view_model = self.history.view_model(pipeline, &self.holders, now_ns);
        self.app.update(Arc::new(view_model));
    }

    /// Draws a frame, as the drawing thread does.
    pub fn draw(&mut self) {
        let Self { app, terminal, .. } = self;
        let Ok(_) = terminal.draw(|frame| views::draw(app, frame));
    }
}
