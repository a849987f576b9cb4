//! `top`: the dashboard of p2p memory on this host.

use anyhow::Result;

use super::live;
use crate::{
    cli::{Global, TopArgs},
    exit::Exit,
    stderr,
};

/// Runs the command.
///
/// # Errors
///
/// When the kernel cannot be traced, tracing breaks off, or the terminal cannot be used.
pub fn run(args: &TopArgs, global: &Global) -> Result<Exit> {
    match obstacle() {
        None => show(args, global),
        Some(why) => {
            stderr::say(format_args!("p2p-trace: {why}: showing the stream as `p2p-trace live` does"));
            live::run(&args.live(), global)
        }
    }
}

#[cfg(not(feature = "tui"))]
#[expect(clippy::unnecessary_wraps, reason = "with the dashboard there may be no obstacle")]
const fn obstacle() -> Option<&'static str> {
    Some("this build has no dashboard")
}

#[cfg(not(feature = "tui"))]
fn show(args: &TopArgs, global: &Global) -> Result<Exit> {
    live::run(&args.live(), global)
}

#[cfg(feature = "tui")]
fn obstacle() -> Option<&'static str> {
    crate::tui::obstacle()
}

#[cfg(feature = "tui")]
fn show(args: &TopArgs, global: &Global) -> Result<Exit> {
    use std::io::{self, Write as _};

    use anyhow::Context as _;

    use super::{colors_stdout, handler::handler, record};
    use crate::{
        run::{Driver, Opened, ReadyFile, Tee, open, recorder::Recorder, stop::Stop},
        tui::{self, Dashboard, Theme},
    };
    use p2p_trace_probe::kernel::clock;

    let mut outputs = args.tracing.outputs();
    // The dashboard uses it.
    outputs.reserve_stdout();
    let ready_file = ReadyFile::prepare(&mut outputs, args.tracing.ready_file.as_ref())?;
    let stop = Stop::before_start().context("cannot catch SIGINT and SIGTERM")?;
    let opened = open(&args.tracing.request(global), &stop)?;
    stop.started();
    let start = clock::now();
    let handler = handler(&opened, &args.tracing.device, &start);
    let theme = Theme::of_environment(colors_stdout(global)).with_ascii(args.ascii);
    let driver = Driver {
        rules: args.tracing.rules(),
        start_ns: start.boottime_ns,
        duration: args.tracing.duration,
        stop: &stop,
        kmsg: args.tracing.kmsg,
    };
    let status = opened.session.status();
    let header = record::header(status.clone(), start, driver.rules);
    let Opened { session, symbols } = opened;
    let symbols = symbols.as_ref();
    let mut dashboard = Dashboard::new(status.clone(), start, symbols, handler, ready_file);
    let mut recorder = Recorder::start(dashboard.flight(args.history), header, symbols)?;
    tui::run_with_dashboard(&dashboard.shared(), &stop, theme, || {
        let mut both = Tee { first: &mut dashboard, second: Some(&mut recorder) };
        driver.run(session, &status, &mut both)
    })?;
    let mut out = io::stdout().lock();
    match out.write_all(dashboard.closing_words().as_bytes()) {
        Err(error) if !super::is_closed(&error) => Err(error.into()),
        _ => Ok(Exit::Success),
    }
}
