//! All outputs of a command, checked against its inputs and against each other.

use std::{
    borrow::Borrow,
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::Path,
    sync::Arc,
};

use p2p_trace_dump::sequence;

use super::{
    Input, Output, OutputError,
    descriptor::{self, STDERR, STDIN, STDOUT},
    destination::{Destination, Way},
    folder,
    identity::Identity,
    inspect::{Found, create_error, inspect, open_stream},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// An event dump, which must not go to a terminal.
    Dump,
    /// An event dump in one or several files: `FILE`, `FILE.1`, `FILE.2` and so on.
    Dumps,
    /// Text for a terminal or a file.
    Text,
}

/// The destination of an output, to detect duplicates.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Stdout,
    /// A name in a folder.
    File(Option<Identity>, OsString),
    /// A name in a folder, with and without a number.
    Series(Option<Identity>, OsString),
}

/// The outputs of a command.
#[derive(Debug)]
pub(crate) struct Outputs {
    inputs: Vec<Identity>,
    force: bool,
    reserved: Vec<Place>,
}

impl Outputs {
    /// The outputs of a command that reads `inputs`. With `force`, existing files are replaced.
    pub(crate) fn new(inputs: impl IntoIterator<Item: Borrow<Input>>, force: bool) -> Self {
        Self {
            inputs: inputs.into_iter().filter_map(|input| identity(input.borrow())).collect(),
            force,
            reserved: Vec::new(),
        }
    }

    /// Reserves stdout: no output may go there.
    pub(crate) fn reserve_stdout(&mut self) {
        self.reserved.push(Place::Stdout);
    }

    /// Checks an output before the command starts its work. Opens a FIFO, which waits for a reader. Fails if the output must not or
    /// cannot be written.
    pub(crate) fn prepare(&mut self, output: &Output, content: Content) -> Result<Destination, OutputError> {
        let path = &output.0;
        let way = match descriptor::number(path) {
            Some(number) => self.open_descriptor(path, number)?,
            None => match inspect(path, &self.inputs, self.force) {
                Ok(Found::Stream) => Way::Stream(Arc::new(open_stream(path)?)),
                Ok(Found::Nothing | Found::Replaceable) => self.by_name(path, content)?,
                // The next file of the series has another name.
                Err(OutputError::Exists(_)) if content == Content::Dumps => self.by_name(path, content)?,
                Err(error) => return Err(error),
            },
        };
        if let Way::Stream(file) = &way
            && content != Content::Text
            && file.is_terminal()
        {
            return Err(OutputError::Terminal);
        }
        let destination = Destination::new(path.clone(), way, self.inputs.clone());
        Ok(if content == Content::Dumps { destination.series() } else { destination })
    }

    /// Checks an optional output.
    pub(crate) fn prepare_optional(
        &mut self,
        output: Option<&Output>,
        content: Content,
    ) -> Result<Option<Destination>, OutputError> {
        output.map(|output| self.prepare(output, content)).transpose()
    }

    fn open_descriptor(&mut self, path: &Path, number: i32) -> Result<Way, OutputError> {
        if number == STDOUT {
            self.reserve(Path::new("stdout"), Place::Stdout)?;
        }
        let file = descriptor::duplicate(number).map_err(|cause| create_error(path, cause))?;
        if !descriptor::is_writable(&file) {
            return Err(create_error(path, io::Error::other("it is open for reading only")));
        }
        if Identity::of_file(&file).is_some_and(|identity| self.inputs.contains(&identity)) {
            return Err(OutputError::IsInput(path.to_owned()));
        }
        Ok(Way::Stream(Arc::new(file)))
    }

    /// Checks a file that will be created later.
    fn by_name(&mut self, path: &Path, content: Content) -> Result<Way, OutputError> {
        let folder = folder::of(path);
        folder::check(&folder).map_err(|cause| create_error(path, cause))?;
        // The shell has redirected stdout or stderr to this file: replacing it would lose that output.
        let is_open = |number| {
            let open = descriptor::duplicate(number).ok();
            let open = open.and_then(|file| Identity::of_file(&file));
            open.is_some() && open == Identity::of_path(path)
        };
        if is_open(STDOUT) || is_open(STDERR) {
            return Err(OutputError::Twice(path.to_owned()));
        }
        let name = path.file_name().unwrap_or_default().to_owned();
        let folder = Identity::of_path(&folder);
        if content == Content::Dumps {
            self.reserve(path, Place::Series(folder, name))?;
        } else {
            self.reserve(path, Place::File(folder, name))?;
        }
        Ok(if self.force { Way::Replace } else { Way::New })
    }

    fn reserve(&mut self, path: &Path, place: Place) -> Result<(), OutputError> {
        if self.reserved.iter().any(|reserved| collide(reserved, &place)) {
            return Err(OutputError::Twice(path.to_owned()));
        }
        self.reserved.push(place);
        Ok(())
    }
}

/// The identity of an input, so that no output overwrites it; `None` for a pipe, whose data cannot be overwritten.
fn identity(input: &Input) -> Option<Identity> {
    if input.0 == Path::new("-") {
        let stdin = descriptor::duplicate(STDIN).ok()?;
        return Identity::of_file(&stdin).filter(Identity::is_data);
    }
    Identity::of_path(input)
}

fn collide(one: &Place, other: &Place) -> bool {
    let within = |series: &Place, file: &Place| match (series, file) {
        (Place::Series(folder, first), Place::File(of, name) | Place::Series(of, name)) => {
            folder == of && (first == name || sequence::place(Path::new(name)).0 == Path::new(first))
        }
        _ => false,
    };
    one == other || within(one, other) || within(other, one)
}
