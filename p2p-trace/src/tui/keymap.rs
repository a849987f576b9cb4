//! The keys, as data: what works where, for the program, the footer and the help alike.

use super::{
    lists,
    state::{App, View},
};

/// A key as it is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    Char(char),
    /// A character with Ctrl.
    Ctrl(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Esc,
    Backspace,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Quit,
    Suspend,
    Redraw,
    Help,
    /// The view of this number.
    Show(View),
    NextView,
    PreviousView,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Back,
    Filter,
    Sort,
    Reverse,
    Group,
    Pause,
    Export,
    Dump,
    Play(Play),
}

/// What is asked of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    /// Plays or stops.
    Toggle,
    Faster,
    Slower,
    /// To the next or previous event, step of a teardown, or finding.
    Step(Target, Direction),
    /// By so many seconds.
    Skip(i64),
    /// To this time, `CLOCK_BOOTTIME`.
    Seek(u64),
    /// To the next or previous run.
    Run(Direction),
    /// A time is to be typed.
    Ask,
}

/// What a replay can step to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Event,
    Teardown,
    Finding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Back,
}

/// Keys, what they do, and where.
pub(crate) struct Binding {
    /// Any of these.
    pub(crate) keys: &'static [Press],
    pub(crate) action: Action,
    pub(crate) shown: &'static str,
    /// In the footer; empty: only in the help.
    pub(crate) short: &'static str,
    pub(crate) help: &'static str,
    /// Where they work.
    works: fn(&App) -> bool,
}

const fn always(_: &App) -> bool {
    true
}

fn is_replay(app: &App) -> bool {
    app.is_replay()
}

fn has_runs(app: &App) -> bool {
    let playback = app.view_model.playback.as_ref();
    playback.is_some_and(|playback| playback.runs > 1)
}

fn is_live(app: &App) -> bool {
    !app.is_replay()
}

fn in_allocated(app: &App) -> bool {
    app.view == View::Allocated
}

fn can_filter(app: &App) -> bool {
    app.view != View::Rates
}

const fn can_sort(app: &App) -> bool {
    lists::columns(app.view) > 0
}

fn can_enter(app: &App) -> bool {
    app.count() > 0
}

fn can_move(app: &App) -> bool {
    app.detail.is_some() || app.count() > 1
}

const fn can_go_back(app: &App) -> bool {
    app.detail.is_some() || app.help || app.is_narrowed()
}

use Press::{
    BackTab, Backspace, Char, Ctrl, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up,
};

const fn play(play: Play) -> Action {
    Action::Play(play)
}

const fn step(target: Target, direction: Direction) -> Action {
    play(Play::Step(target, direction))
}

/// A row: where it works, the keys, what they do, and in words: the keys, for the footer, for the help. Without words, another
/// row tells of it.
macro_rules! bindings {
    ($($works:ident: [$($key:expr),+] => $action:expr $(, $shown:literal, $short:literal, $help:literal)?;)+) => {
        &[$(Binding {
            keys: &[$($key),+],
            action: $action,
            shown: concat!($($shown)?),
            short: concat!($($short)?),
            help: concat!($($help)?),
            works: $works,
        }),+]
    };
}

/// All of them, in the order of the help; the footer takes the ones with a short text in this order.
pub(crate) const BINDINGS: &[Binding] = bindings! {
    always: [Char('q'), Ctrl('c')] => Action::Quit, "q", "quit", "quit";
    always: [Char('?')] => Action::Help, "?", "help", "this help";
    can_go_back: [Esc, Backspace] => Action::Back, "esc", "back", "back: close, clear the filter";
    can_enter: [Enter] => Action::Enter,
        "enter", "open", "details, stack, records of a finding, memory of a device";
    is_live: [Char(' ')] => Action::Pause, "space", "pause", "hold the screen; tracing goes on";
    is_replay: [Char(' ')] => play(Play::Toggle), "space", "play/stop", "play or stop";
    is_replay: [Char('n')] => step(Target::Event, Direction::Forward),
        "n N", "event", "to the next event, N: the one before";
    is_replay: [Char('N')] => step(Target::Event, Direction::Back);
    is_replay: [Char('t')] => step(Target::Teardown, Direction::Forward),
        "t T", "step", "to the next step of a teardown, T: the one before";
    is_replay: [Char('T')] => step(Target::Teardown, Direction::Back);
    is_replay: [Char('f')] => step(Target::Finding, Direction::Forward),
        "f F", "finding", "to the next finding, F: the one before";
    is_replay: [Char('F')] => step(Target::Finding, Direction::Back);
    is_replay: [Char('+'), Char('=')] => play(Play::Faster), "+ -", "speed", "faster, slower";
    is_replay: [Char('-')] => play(Play::Slower);
    is_replay: [Left] => play(Play::Skip(-1)), "left right", "1 s", "back or forward a second";
    is_replay: [Right] => play(Play::Skip(1));
    is_replay: [Char('[')] => play(Play::Skip(-30)), "[ ]", "", "back or forward 30 seconds";
    is_replay: [Char(']')] => play(Play::Skip(30));
    is_replay: [Char('@')] => play(Play::Ask),
        "@", "time", "to a time of day, such as 20:57:16.5, or +3.2 from the start";
    has_runs: [Char('r')] => play(Play::Run(Direction::Forward)),
        "r R", "run", "to the next run that the files hold, R: the one before";
    has_runs: [Char('R')] => play(Play::Run(Direction::Back));
    can_filter: [Char('/')] => Action::Filter,
        "/", "filter", "show only what has these words: device:, process:, caller:, kind: say where";
    in_allocated: [Char('g')] => Action::Group, "g", "group", "by process, by caller, one by one";
    can_sort: [Char('s')] => Action::Sort, "s S", "sort", "by the next column, S: the other way round";
    can_sort: [Char('S')] => Action::Reverse;
    always: [Char('e')] => Action::Export, "e", "export", "write what is shown here to a file";
    always: [Tab] => Action::NextView, "tab 1-7", "views", "the next view, or the one of this number";
    always: [BackTab] => Action::PreviousView;
    always: [Char('E')] => Action::Dump,
        "E", "dump", "write a dump of the last minutes to a file; in a replay: of those before this moment";
    can_move: [Up, Char('k')] => Action::Up, "up down, k j", "", "move";
    can_move: [Down, Char('j')] => Action::Down;
    can_move: [PageUp, Ctrl('u')] => Action::PageUp,
        "page up, page down", "", "move by a page; also ctrl-u, ctrl-d";
    can_move: [PageDown, Ctrl('d')] => Action::PageDown;
    can_move: [Home, Char('<')] => Action::First,
        "home end, < >", "", "to the first or last; the last event is followed";
    can_move: [End, Char('>'), Char('G')] => Action::Last;
    always: [Ctrl('l')] => Action::Redraw, "ctrl-l", "", "draw everything again";
    always: [Ctrl('z')] => Action::Suspend,
        "ctrl-z", "", "stop the program until `fg`: nothing is read then, and records can be lost";
    always: [Char('1')] => Action::Show(View::Overview);
    always: [Char('2')] => Action::Show(View::Allocated);
    always: [Char('3')] => Action::Show(View::Teardowns);
    always: [Char('4')] => Action::Show(View::Findings);
    always: [Char('5')] => Action::Show(View::Events);
    always: [Char('6')] => Action::Show(View::Rates);
    always: [Char('7')] => Action::Show(View::Rules);
};

impl Binding {
    pub(crate) fn works(&self, app: &App) -> bool {
        (self.works)(app)
    }
}

/// What a key does now.
pub(crate) fn action(press: Press, app: &App) -> Option<Action> {
    let fits = |binding: &&Binding| binding.keys.contains(&press) && binding.works(app);
    BINDINGS.iter().find(fits).map(|binding| binding.action)
}
