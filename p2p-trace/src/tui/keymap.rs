//! Key bindings as data, shared by the event loop, the footer and the help.

use super::{
    lists,
    state::{App, View},
};

/// A key press.
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

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Quit,
    Suspend,
    Redraw,
    Help,
    /// Show a view.
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

/// A command for the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    /// Play or stop.
    Toggle,
    Faster,
    Slower,
    /// Go to the next or previous event, teardown step, or finding.
    Step(Target, Direction),
    /// Go forward or back by this many seconds.
    Skip(i64),
    /// Go to this time (`CLOCK_BOOTTIME`).
    Seek(u64),
    /// Go to the next or previous run.
    Run(Direction),
    /// Ask for a time to go to.
    Ask,
}

/// A target of steps in a replay.
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

/// A key binding.
pub(crate) struct Binding {
    /// The keys; each of them triggers the action.
    pub(crate) keys: &'static [Press],
    pub(crate) action: Action,
    /// The keys as shown in the footer and the help.
    pub(crate) shown: &'static str,
    /// The description in the footer; empty if it is only in the help.
    pub(crate) short: &'static str,
    /// The description in the help; empty if another binding covers it.
    pub(crate) help: &'static str,
    /// Whether the binding is active.
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

/// Builds the table of bindings. A row has the condition, the keys, the action, and the three texts: the keys, the footer and
/// the help. A row without texts is covered by the texts of another row.
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

/// All bindings, in the order of the help. The footer shows those with a short text, in this order.
pub(crate) const BINDINGS: &[Binding] = bindings! {
    always: [Char('q'), Ctrl('c')] => Action::Quit, "q", "quit", "quit";
    always: [Char('?')] => Action::Help, "?", "help", "this help";
    can_go_back: [Esc, Backspace] => Action::Back, "esc", "back", "back: close, or clear the filter";
    can_enter: [Enter] => Action::Enter,
        "enter", "open", "details, stack, records of a finding, memory of a device";
    is_live: [Char(' ')] => Action::Pause, "space", "pause", "pause the screen; tracing continues";
    is_replay: [Char(' ')] => play(Play::Toggle), "space", "play/stop", "play or stop";
    is_replay: [Char('n')] => step(Target::Event, Direction::Forward),
        "n N", "event", "to the next event; N: the previous one";
    is_replay: [Char('N')] => step(Target::Event, Direction::Back);
    is_replay: [Char('t')] => step(Target::Teardown, Direction::Forward),
        "t T", "step", "to the next teardown step; T: the previous one";
    is_replay: [Char('T')] => step(Target::Teardown, Direction::Back);
    is_replay: [Char('f')] => step(Target::Finding, Direction::Forward),
        "f F", "finding", "to the next finding; F: the previous one";
    is_replay: [Char('F')] => step(Target::Finding, Direction::Back);
    is_replay: [Char('+'), Char('=')] => play(Play::Faster), "+ -", "speed", "faster, slower";
    is_replay: [Char('-')] => play(Play::Slower);
    is_replay: [Left] => play(Play::Skip(-1)), "left right", "1 s", "back or forward by 1 second";
    is_replay: [Right] => play(Play::Skip(1));
    is_replay: [Char('[')] => play(Play::Skip(-30)), "[ ]", "", "back or forward by 30 seconds";
    is_replay: [Char(']')] => play(Play::Skip(30));
    is_replay: [Char('@')] => play(Play::Ask),
        "@", "time", "to a time of day such as 20:57:16.5, or +3.2 for seconds from the start";
    has_runs: [Char('r')] => play(Play::Run(Direction::Forward)),
        "r R", "run", "to the next run in the files; R: the previous one";
    has_runs: [Char('R')] => play(Play::Run(Direction::Back));
    can_filter: [Char('/')] => Action::Filter,
        "/", "filter", "show lines with all of these words; limit a word by device:, process:, caller:, kind:";
    in_allocated: [Char('g')] => Action::Group, "g", "group", "group by process, by caller, or show one by one";
    can_sort: [Char('s')] => Action::Sort, "s S", "sort", "sort by the next column; S: reverse the order";
    can_sort: [Char('S')] => Action::Reverse;
    always: [Char('e')] => Action::Export, "e", "export", "write this view to a file";
    always: [Tab] => Action::NextView, "tab 1-7", "views", "the next view, or the view with this number";
    always: [BackTab] => Action::PreviousView;
    always: [Char('E')] => Action::Dump,
        "E", "dump", "write a dump of the last minutes to a file; in a replay, those before the current time";
    can_move: [Up, Char('k')] => Action::Up, "up down, k j", "", "move";
    can_move: [Down, Char('j')] => Action::Down;
    can_move: [PageUp, Ctrl('u')] => Action::PageUp,
        "page up, page down", "", "move by a page; also ctrl-u, ctrl-d";
    can_move: [PageDown, Ctrl('d')] => Action::PageDown;
    can_move: [Home, Char('<')] => Action::First,
        "home end, < >", "", "to the first or last line; the cursor follows the last event";
    can_move: [End, Char('>'), Char('G')] => Action::Last;
    always: [Ctrl('l')] => Action::Redraw, "ctrl-l", "", "redraw the screen";
    always: [Ctrl('z')] => Action::Suspend,
        "ctrl-z", "", "suspend the program until `fg`; meanwhile nothing is read, and records can be lost";
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

/// The action of a key in the current state.
pub(crate) fn action(press: Press, app: &App) -> Option<Action> {
    let fits = |binding: &&Binding| binding.keys.contains(&press) && binding.works(app);
    BINDINGS.iter().find(fits).map(|binding| binding.action)
}
