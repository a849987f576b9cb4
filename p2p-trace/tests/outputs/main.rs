//! No file that a command writes destroys another one. The options that name such files, and those that name what is read, are
//! taken from the command line itself: one that is added is tried like the others, or fails here until it says which of the two it is.

#![expect(clippy::disallowed_methods, reason = "tests make what they need in a folder of their own")]

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
