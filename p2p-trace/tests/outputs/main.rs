//! Commands do not overwrite existing files. The options with input and output files are taken from the command line itself, so that
//! new options are tested too; a test fails until a new option is declared as one or the other.

#![expect(clippy::disallowed_methods, reason = "tests create files in their own folder")]

#[cfg(unix)]
#[cfg(test)]
mod options;
#[cfg(unix)]
#[cfg(test)]
mod place;
#[cfg(unix)]
#[cfg(test)]
mod refused;
#[cfg(unix)]
#[cfg(test)]
mod streams;
