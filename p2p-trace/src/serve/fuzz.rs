//! Both sides of the protocol, for fuzzing.

use super::protocol::{read_request, read_response, write_request, write_response};

/// What is understood of a line is written as a line that says the same.
pub(crate) fn read(line: &[u8]) {
    if let Ok(request) = read_request(line) {
        assert_eq!(write_request(&request).ok().map(|line| read_request(&line)), Some(Ok(request)));
    }
    if let Ok(report) = read_response(line) {
        let written = write_response(Ok(report.clone())).ok();
        assert_eq!(written.map(|line| read_response(&line)), Some(Ok(report)));
    }
}
