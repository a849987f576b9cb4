//! The program p2p-trace. The library has its parts.

use std::{env, io, process::ExitCode};

use p2p_trace::{
    cli::{self, Cli, ColorWhen, Command},
    commands,
    exit::Exit,
    stderr,
};
use p2p_trace_probe::kernel::KernelRoot;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error).into(),
    };
    log_to_stderr(&cli);
    run(cli).into()
}

fn run(cli: Cli) -> Exit {
    let result = match cli.command {
        None => commands::top::run(&cli::TopArgs::default(), &cli.global),
        Some(Command::Top(args)) => commands::top::run(&args, &cli.global),
        Some(Command::Live(args)) => commands::live::run(&args, &cli.global),
        Some(Command::Holders(args)) => commands::holders::run(&args, &cli.global),
        Some(Command::Recover(args)) => commands::recover::run(&args, &cli.global),
        Some(Command::Record(args)) => commands::record::run(&args, &cli.global),
        Some(Command::Replay(args)) => commands::replay::run(&args, &cli.global),
        Some(Command::Check(args)) => commands::check::run(&args, &cli.global),
        Some(Command::Report(args)) => commands::report::run(&args),
        Some(Command::Export(args)) => commands::export::run(&args),
        Some(Command::Doctor(args)) => {
            let verify: fn(&_, &_, &_) -> _ = commands::doctor::verify;
            let verify = Some(verify).filter(|_| cli.global.verbose > 0);
            let listen = cli.global.diagnostics().filter(|_| cli.global.verbose > 1);
            commands::doctor::run(&args, &KernelRoot::default(), commands::doctor::hooks, verify, listen)
        }
        Some(Command::Completions { shell }) => commands::generate::completions(shell),
        Some(Command::Man { command }) => commands::generate::man(command.as_deref()),
    };
    result.unwrap_or_else(|error| {
        stderr::say(format_args!("p2p-trace: {error:#}"));
        commands::exit_of(&error)
    })
}

/// Prints the message of clap. Help and the version were requested; other messages are wrong usage.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A failure cannot be reported anywhere.
        error.print().unwrap_or_default();
        return Exit::Success;
    }
    // The message repeats the arguments, which can contain any characters.
    let text = error.render();
    let text = if commands::is_colored(&io::stderr()) { text.ansi().to_string() } else { text.to_string() };
    io::Write::write_all(&mut stderr::writer(), text.as_bytes()).unwrap_or_default();
    Exit::Usage
}

fn log_to_stderr(cli: &Cli) {
    let level = match cli.global.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let color = match cli.global.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => commands::is_colored(&io::stderr()),
    };
    tracing_subscriber::fmt()
        .with_ansi(color)
        .event_format(stderr::Format)
        .with_max_level(level)
        .with_writer(stderr::writer)
        .init();
}
