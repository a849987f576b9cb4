//! Malicious dumps for tests: every text replaced, which no writer of ours would do.

#![expect(clippy::unwrap_used, reason = "it is for tests, where a panic is a failure")]

use serde_json::Value;

use super::{
    block::{BlockHeader, HEADER_SIZE, Kind, checksum},
    codec,
    reader::parse,
    records::Records,
    scan::{Piece, Scanner},
};
use p2p_trace_common::{record::COMM_LEN, valid};
use p2p_trace_model::stream::order::Item;

/// `dump` with `text` in place of each string that a reader accepts unchecked, and `comm` as every task's
/// name.
#[must_use]
pub fn spoiled(
    dump: &[u8],
    mut text: impl FnMut() -> String,
    mut comm: impl FnMut() -> [u8; COMM_LEN],
) -> Vec<u8> {
    let mut scanner = Scanner::new(dump);
    let mut bytes = Vec::new();
    while let Some(piece) = scanner.next().unwrap() {
        let Piece::Block(header, stored) = piece else { continue };
        let content = codec::decode(header.codec, &stored, header.decoded as usize).unwrap();
        let content = match Kind::from_u8(header.kind) {
            Some(Kind::Records) => {
                let mut records = Records::from_bytes(&content).unwrap();
                for item in records.slices.iter_mut().flat_map(|slice| &mut slice.items) {
                    match item {
                        Item::Record(record) if record.has(valid::TASK) => record.comm = comm(),
                        _ => {}
                    }
                }
                records.to_bytes()
            }
            Some(kind) if kind != Kind::Checkpoint => json(kind, &content, &mut text),
            _ => content,
        };
        put(&mut bytes, header, content);
    }
    bytes
}

/// `dump` followed by intact blocks with meaningless content, in the words of `text`.
#[must_use]
pub fn senseless(dump: &[u8], text: &str) -> Vec<u8> {
    let mut scanner = Scanner::new(dump);
    let mut number = 0;
    while let Some(piece) = scanner.next().unwrap() {
        if let Piece::Block(header, _) = piece {
            number = header.number;
        }
    }
    let mut bytes = dump.to_vec();
    let symbols = serde_json::json!({ "names": [[text, text]] });
    let status = serde_json::json!({ "time_ns": 1, "status": { "run": text } });
    let messages = serde_json::json!({ "messages": [{ "time_ns": 1, "level": text, "text": text }] });
    for (kind, value) in [(Kind::Symbols, symbols), (Kind::Status, status), (Kind::Diagnostics, messages)] {
        number += 1;
        let header = BlockHeader { kind: kind as u8, number, ..blank() };
        put(&mut bytes, header, serde_json::to_vec(&value).unwrap());
    }
    bytes
}

/// Replaces every string, after filling in the optional ones of a header and of hooks.
fn json(kind: Kind, content: &[u8], text: &mut impl FnMut() -> String) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(content).unwrap();
    if kind == Kind::Header {
        value["host"] = "host".into();
    }
    for hook in value.pointer_mut("/status/hooks").and_then(Value::as_array_mut).into_iter().flatten() {
        hook["error"] = "error".into();
    }
    let mut places = Vec::new();
    strings(&value, String::new(), &mut places);
    for place in places {
        let before = value.pointer(&place).unwrap().clone();
        *value.pointer_mut(&place).unwrap() = text().into();
        // A name with a defined set of values cannot be replaced.
        if parse(kind, &serde_json::to_vec(&value).unwrap()).is_err() {
            *value.pointer_mut(&place).unwrap() = before;
        }
    }
    serde_json::to_vec(&value).unwrap()
}

fn strings(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::String(_) => places.push(place),
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                strings(value, format!("{place}/{at}"), places);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                strings(value, format!("{place}/{name}"), places);
            }
        }
        _ => {}
    }
}

const fn blank() -> BlockHeader {
    BlockHeader {
        format: super::block::FORMAT,
        kind: 0,
        codec: codec::NONE,
        stored: 0,
        decoded: 0,
        crc: 0,
        number: 0,
    }
}

fn put(bytes: &mut Vec<u8>, header: BlockHeader, content: Vec<u8>) {
    let length = u32::try_from(content.len()).unwrap();
    let header = BlockHeader {
        codec: codec::NONE,
        stored: length,
        decoded: length,
        crc: checksum(&content),
        ..header
    };
    let header: [u8; HEADER_SIZE] = header.to_bytes();
    bytes.extend(header);
    bytes.extend(content);
}
