//! Both sides of the protocol, for fuzzing.

use super::protocol::{read_request, read_response, write_request, write_response};

/// Parses a line, and checks that the parsed value survives writing and parsing.
pub(crate) fn read(line: &[u8]) {
    if let Ok(request) = read_request(line) {
        assert_eq!(write_request(&request).ok().map(|line| read_request(&line)), Some(Ok(request)));
    }
    if let Ok(report) = read_response(line) {
        let written = write_response(Ok(report.clone())).ok();
        assert_eq!(written.map(|line| read_response(&line)), Some(Ok(report)));
    }
}
