//! What goes over the socket: one line of JSON each way.
//!
//! The client writes `{"version":1,"request":"holders","devices":["0000:01:00.0"]}`, the server answers
//! `{"version":1,"report":{…}}` or `{"version":1,"error":{"code":"…","message":"…"}}` and closes.

use p2p_trace_model::{event::names::Bdf, text::Text};
use serde::{Deserialize, Serialize};

use crate::device_report::Report;

/// Version of the protocol. Both sides must speak the same.
pub(crate) const VERSION: u32 = 1;

/// A request is short: 16 devices at most, as a session has.
pub(super) const MAX_REQUEST: usize = 64 << 10;

/// A report of a device with very many holders still is far below this.
pub(super) const MAX_RESPONSE: usize = 64 << 20;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// What is taken of these devices' memory; of all that the tracer knows, if none is named.
    Holders {
        #[serde(default)]
        devices: Vec<Bdf>,
    },
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// The other side speaks another version.
    Version,
    /// The line is no request.
    BadRequest,
    /// The client is somebody else.
    Denied,
    /// The tracer cannot answer.
    Failed,
    /// A code of a later version.
    #[serde(other)]
    Other,
}

/// A request that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// Why, for a program.
    pub(crate) code: Code,
    /// Why, for a person.
    pub(crate) message: Text,
}

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<Text>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

/// Goes before everything else in both directions.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

/// Only the version, whatever else there is.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Report(Box<Report>),
    Error(Refused),
}

/// A request as its line.
pub(super) fn write_request(request: &Request) -> serde_json::Result<Vec<u8>> {
    write(request)
}

/// A response as its line.
pub(super) fn write_response(answer: Result<Report, Refused>) -> serde_json::Result<Vec<u8>> {
    write(match answer {
        Ok(report) => Body::Report(Box::new(report)),
        Err(refused) => Body::Error(refused),
    })
}

fn write(body: impl Serialize) -> serde_json::Result<Vec<u8>> {
    let version = VERSION;
    let mut line = serde_json::to_vec(&Versioned { version, body })?;
    line.push(b'\n');
    Ok(line)
}

/// The request that a client wrote.
pub(super) fn read_request(line: &[u8]) -> Result<Request, Refused> {
    check_version(line)?;
    let request: Versioned<Request> = serde_json::from_slice(line)
        .map_err(|error| Refused::new(Code::BadRequest, format!("the line is no request: {error}")))?;
    Ok(request.body)
}

/// What a server wrote.
pub(super) fn read_response(line: &[u8]) -> Result<Report, Refused> {
    match serde_json::from_slice::<Versioned<Body>>(line) {
        // Every version understands a refusal.
        Ok(Versioned { body: Body::Error(refused), .. }) => Err(refused),
        Ok(Versioned { version: VERSION, body: Body::Report(report) }) => Ok(*report),
        other => {
            check_version(line)?;
            let problem = other.err().map_or_else(String::new, |error| format!(": {error}"));
            Err(Refused::new(Code::BadRequest, format!("the answer cannot be understood{problem}")))
        }
    }
}

fn check_version(line: &[u8]) -> Result<(), Refused> {
    let VersionOnly { version } = serde_json::from_slice(line).map_err(|error| {
        Refused::new(Code::BadRequest, format!("the line is no JSON with a version: {error}"))
    })?;
    if version == VERSION {
        return Ok(());
    }
    let message = format!(
        "version {version} of the protocol was sent, and this p2p-trace speaks {VERSION}: use the same p2p-trace on both sides"
    );
    Err(Refused::new(Code::Version, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_that_leads_back() {
        let device = "0000:01:00.0".parse().map(Bdf).unwrap();
        let request = Request::Holders { devices: vec![device] };
        let line = write_request(&request).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"version\":1,\"request\":\"holders\",\"devices\":[\"0000:01:00.0\"]}\n"
        );
        assert_eq!(read_request(&line), Ok(request));
        let all = Request::Holders { devices: Vec::new() };
        assert_eq!(read_request(br#"{"version":1,"request":"holders"}"#), Ok(all));
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        let refusal = |line: &str| {
            let refused = read_request(line.as_bytes()).unwrap_err();
            format!("{:?}: {refused}", refused.code)
        };
        insta::assert_snapshot!(
            [
                "",
                "GET / HTTP/1.1",
                "{}",
                r#"{"version":2,"request":"holders"}"#,
                r#"{"version":1,"request":"reboot"}"#,
                r#"{"version":1,"request":"holders","devices":["nvme0"]}"#,
            ]
            .map(refusal)
            .join("\n"),
            @r#"
            BadRequest: the line is no JSON with a version: EOF while parsing a value at line 1 column 0
            BadRequest: the line is no JSON with a version: expected value at line 1 column 1
            BadRequest: the line is no JSON with a version: missing field `version` at line 1 column 2
            Version: version 2 of the protocol was sent, and this p2p-trace speaks 1: use the same p2p-trace on both sides
            BadRequest: the line is no request: unknown variant `reboot`, expected `holders` at line 1 column 32
            BadRequest: the line is no request: "nvme0" is not a PCI address: the function (after a dot) is missing; write it as 0000:01:00.0 or 01:00.0 at line 1 column 53
            "#
        );
    }

    #[test]
    fn a_report_survives_and_so_does_a_refusal() {
        let report = crate::device_report::samples::report();
        let line = write_response(Ok(report.clone())).unwrap();
        assert_eq!(read_response(&line), Ok(report));
        let refused = Refused::new(Code::Failed, "no");
        let line = write_response(Err(refused.clone())).unwrap();
        assert_eq!(read_response(&line), Err(refused));
    }

    #[test]
    fn an_answer_of_another_version_is_told_as_one() {
        let error = br#"{"version":9,"error":{"code":"weather","message":"too hot","since":1}}"#;
        let refused = read_response(error).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (Code::Other, "too hot"));
        let refused = read_response(br#"{"version":9,"report":{"a":1}}"#).unwrap_err();
        assert_eq!(refused.code, Code::Version);
        let refused = read_response(br#"{"version":1,"report":{"a":1}}"#).unwrap_err();
        assert_eq!(refused.code, Code::BadRequest);
        assert_eq!(read_response(b"x").unwrap_err().code, Code::BadRequest);
    }
}
