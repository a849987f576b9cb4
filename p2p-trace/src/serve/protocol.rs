//! The protocol: one line of JSON in each direction.
//!
//! The client writes `{"version":1,"request":"holders","devices":["pci/0000:01:00.0"]}`, the server answers
//! `{"version":1,"report":{…}}` or `{"version":1,"error":{"code":"…","message":"…"}}` and closes.

use p2p_trace_model::{event::names::Bdf, text::Text};
use serde::{Deserialize, Serialize};

use crate::device_report::Report;

/// Version of the protocol. Both sides must use the same one.
pub(crate) const VERSION: u32 = 1;

/// A request is short: it has at most 16 devices, the maximum of a session.
pub(super) const MAX_REQUEST: usize = 64 << 10;

/// Far more than the report of a device with very many holders.
pub(super) const MAX_RESPONSE: usize = 64 << 20;

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// The memory of these devices that is allocated; of all known devices if the list is empty.
    Holders {
        #[serde(default)]
        devices: Vec<Bdf>,
    },
}

/// The reason why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// The protocol versions differ.
    Version,
    /// The line is not a valid request.
    BadRequest,
    /// The client belongs to another user.
    Denied,
    /// The tracer cannot answer.
    Failed,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// The reason, for programs.
    pub(crate) code: Code,
    /// The reason, for people.
    pub(crate) message: Text,
}

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<Text>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

/// The envelope of both directions.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

/// The version alone; other fields are ignored.
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

/// Formats a request.
pub(super) fn write_request(request: &Request) -> serde_json::Result<Vec<u8>> {
    write(request)
}

/// Formats a response.
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

/// Parses a request.
pub(super) fn read_request(line: &[u8]) -> Result<Request, Refused> {
    check_version(line)?;
    let request: Versioned<Request> = serde_json::from_slice(line)
        .map_err(|error| Refused::new(Code::BadRequest, format!("not a valid request: {error}")))?;
    Ok(request.body)
}

/// Parses a response.
pub(super) fn read_response(line: &[u8]) -> Result<Report, Refused> {
    match serde_json::from_slice::<Versioned<Body>>(line) {
        // Refusals are valid in every version.
        Ok(Versioned { body: Body::Error(refused), .. }) => Err(refused),
        Ok(Versioned { version: VERSION, body: Body::Report(report) }) => Ok(*report),
        other => {
            check_version(line)?;
            let problem = other.err().map_or_else(String::new, |error| format!(": {error}"));
            Err(Refused::new(Code::BadRequest, format!("not a valid answer{problem}")))
        }
    }
}

fn check_version(line: &[u8]) -> Result<(), Refused> {
    let VersionOnly { version } = serde_json::from_slice(line).map_err(|error| {
        Refused::new(Code::BadRequest, format!("not a JSON object with a version: {error}"))
    })?;
    if version == VERSION {
        return Ok(());
    }
    let message = format!(
        "protocol version {version} was received, but this p2p-trace uses version {VERSION}: use the same p2p-trace on both sides"
    );
    Err(Refused::new(Code::Version, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_and_survives_parsing() {
        let device = "0000:01:00.0".parse().map(Bdf).unwrap();
        let request = Request::Holders { devices: vec![device] };
        let line = write_request(&request).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"version\":1,\"request\":\"holders\",\"devices\":[\"pci/0000:01:00.0\"]}\n"
        );
        assert_eq!(read_request(&line), Ok(request));
        let all = Request::Holders { devices: Vec::new() };
        assert_eq!(read_request(br#"{"version":1,"request":"holders"}"#), Ok(all));
    }

    #[test]
    fn invalid_requests_are_refused_with_a_reason() {
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
            BadRequest: not a JSON object with a version: EOF while parsing a value at line 1 column 0
            BadRequest: not a JSON object with a version: expected value at line 1 column 1
            BadRequest: not a JSON object with a version: missing field `version` at line 1 column 2
            Version: protocol version 2 was received, but this p2p-trace uses version 1: use the same p2p-trace on both sides
            BadRequest: not a valid request: unknown variant `reboot`, expected `holders` at line 1 column 32
            BadRequest: not a valid request: "nvme0" is not a PCI address: the function (after a dot) is missing; write it as 0000:01:00.0 or 01:00.0 at line 1 column 53
            "#
        );
    }

    #[test]
    fn reports_and_refusals_survive_parsing() {
        let report = crate::device_report::samples::report();
        let line = write_response(Ok(report.clone())).unwrap();
        assert_eq!(read_response(&line), Ok(report));
        let refused = Refused::new(Code::Failed, "no");
        let line = write_response(Err(refused.clone())).unwrap();
        assert_eq!(read_response(&line), Err(refused));
    }

    #[test]
    fn an_answer_of_another_version_is_refused_as_such() {
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
