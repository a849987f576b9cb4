//! QEMU's machine protocol: JSON commands over a socket (QEMU: docs/interop/qmp-spec.rst).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::link::{Link, Received};
use crate::host::interrupt;

/// How long QEMU may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session with a running QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    link: Link,
    events: VecDeque<Value>,
}

/// One line from QEMU.
#[derive(Debug, PartialEq)]
enum Message {
    Greeting,
    Return(Value),
    Error(String),
    Event(Value),
}

impl Qmp {
    /// Greets QEMU and leaves the negotiation mode.
    pub(super) fn open(link: Link) -> Result<Self> {
        let mut qmp = Self { link, events: VecDeque::new() };
        let deadline = Instant::now() + PATIENCE;
        ensure!(qmp.receive(deadline)? == Some(Message::Greeting), "QEMU did not send its greeting");
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its result.
    ///
    /// # Errors
    ///
    /// QEMU refuses the command, has exited, or does not answer.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.link.send(&request.to_string()).with_context(|| format!("cannot send {command} to QEMU"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline)? {
                Some(Message::Return(value)) => return Ok(value),
                Some(Message::Error(text)) => bail!("QEMU refuses {command} with {arguments}: {text}"),
                Some(Message::Event(event)) => self.events.push_back(event),
                Some(Message::Greeting) => {}
                None => bail!("QEMU did not answer {command} within {} s", PATIENCE.as_secs()),
            }
        }
    }

    /// Plugs a device in, described as on QEMU's command line: `nvme,id=a,bus=down0`.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub(crate) fn add_device(&mut self, description: &str) -> Result<()> {
        self.execute("device_add", device_arguments(description)).map(drop)
    }

    /// Asks the guest to release a device, and waits until it has.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`], and if the guest does not release it in time.
    pub(crate) fn remove_device(&mut self, id: &str, patience: Duration) -> Result<()> {
        self.execute("device_del", json!({ "id": id }))?;
        self.wait_event(patience, |event| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == id)
            .with_context(|| format!("the guest did not release the device {id}"))
            .map(drop)
    }

    /// Waits for a matching event; earlier ones are dropped.
    ///
    /// # Errors
    ///
    /// QEMU has exited, or no such event arrived in time.
    pub(crate) fn wait_event(
        &mut self,
        patience: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            while let Some(event) = self.events.pop_front() {
                if matches(&event) {
                    return Ok(event);
                }
            }
            match self.receive(deadline)? {
                Some(Message::Event(event)) => self.events.push_back(event),
                Some(_) => {}
                None => bail!("QEMU did not send the expected event within {} s", patience.as_secs()),
            }
        }
    }

    /// The next message; `None` at the deadline.
    fn receive(&self, deadline: Instant) -> Result<Option<Message>> {
        loop {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.link.receive(left.min(Duration::from_millis(200))) {
                Received::Line(line) => return parse(&line).map(Some),
                Received::Nothing if left.is_zero() => return Ok(None),
                Received::Nothing => {}
                Received::Closed => bail!("QEMU has exited"),
            }
        }
    }
}

/// Parses one line.
fn parse(line: &str) -> Result<Message> {
    let mut value: Value =
        serde_json::from_str(line).with_context(|| format!("QEMU sent a line that is not JSON: {line}"))?;
    if value.get("QMP").is_some() {
        Ok(Message::Greeting)
    } else if let Some(result) = value.get_mut("return") {
        Ok(Message::Return(result.take()))
    } else if let Some(error) = value.get("error") {
        Ok(Message::Error(error["desc"].as_str().unwrap_or("no reason given").to_owned()))
    } else if value.get("event").is_some() {
        Ok(Message::Event(value))
    } else {
        bail!("QEMU sent an unknown message: {line}")
    }
}

/// `nvme,id=a,cmb_size_mb=64` → `{"driver": "nvme", "id": "a", "cmb_size_mb": 64}`.
fn device_arguments(description: &str) -> Value {
    let mut words = description.split(',');
    let mut arguments = serde_json::Map::new();
    arguments.insert("driver".to_owned(), words.next().unwrap_or_default().into());
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        // QEMU expects strings for addresses, and numbers for sizes.
        let value = value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from);
        arguments.insert(key.to_owned(), value);
    }
    Value::Object(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_each_kind_of_message() {
        assert_eq!(parse(r#"{"QMP": {"version": {}, "capabilities": []}}"#).unwrap(), Message::Greeting);
        assert_eq!(parse(r#"{"return": {}}"#).unwrap(), Message::Return(json!({})));
        let error = r#"{"error": {"class": "GenericError", "desc": "Device 'x' not found"}}"#;
        assert_eq!(parse(error).unwrap(), Message::Error("Device 'x' not found".to_owned()));
        let event = r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#;
        assert!(matches!(parse(event).unwrap(), Message::Event(event) if event["data"]["guest"] == true));
        parse("{}").unwrap_err();
        parse("hello").unwrap_err();
    }

    #[test]
    fn parses_device_descriptions() {
        assert_eq!(
            device_arguments("nvme,id=a,bus=down0,cmb_size_mb=64,addr=0x1"),
            json!({ "driver": "nvme", "id": "a", "bus": "down0", "cmb_size_mb": 64, "addr": "0x1" })
        );
    }
}
