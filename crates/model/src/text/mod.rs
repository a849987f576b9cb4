//! Text from outside: from a dump, a command line, the running kernel, or another process.
//!
//! Its author may be malicious: escape sequences control a terminal, line breaks forge a line of our output,
//! and other characters are invisible or reorder the text around them. A [`Text`] is safe from the moment it
//! is created, so code that prints it does not have to escape it. Escaping the markup of Markdown or HTML is
//! left to the code that writes these formats.

mod characters;

use std::{borrow::Cow, fmt, ops::Deref, path::Path, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use characters::is_unsafe;

/// Text from outside, made safe: one line, at most [`Text::MAX`] bytes, in which every character is visible.
///
/// An unsafe character is written as its UTF-8 bytes, each as `\xNN`. A backslash is unchanged, so making
/// safe text safe again changes nothing, and a dump can be read and rewritten any number of times.
/// (`event::escape` also doubles backslashes, so it is reversible. Its output is safe and unchanged here.)
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

impl Text {
    /// Maximum length in bytes. Longer text is cut and ends with [`Text::CUT`].
    pub const MAX: usize = 4096;
    /// The end of a text that was cut.
    pub const CUT: char = '…';

    /// Converts bytes that should be UTF-8. Bytes that are not become `\xNN`, too.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len().min(Self::MAX));
        for chunk in bytes.utf8_chunks() {
            push_safe(chunk.valid(), &mut text);
            push_bytes(chunk.invalid(), &mut text);
            if text.len() > Self::MAX {
                break;
            }
        }
        Self::bounded(text)
    }

    /// The text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn bounded(mut text: String) -> Self {
        if text.len() > Self::MAX {
            text.truncate(text.floor_char_boundary(Self::MAX - Self::CUT.len_utf8()));
            text.push(Self::CUT);
        }
        Self(text.into())
    }
}

fn push_safe(text: &str, safe: &mut String) {
    for character in text.chars() {
        if safe.len() > Text::MAX {
            return;
        }
        if is_unsafe(character) {
            push_bytes(character.encode_utf8(&mut [0; 4]).as_bytes(), safe);
        } else {
            safe.push(character);
        }
    }
}

/// Appends each byte as `\xNN`.
pub(crate) fn push_bytes(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        text.push_str("\\x");
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Makes each line of a text safe, and keeps the line breaks: for messages of more than one line, and as a
/// last resort.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let is_fine = |character: char| character == '\n' || !is_unsafe(character);
    if text.chars().all(is_fine) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_fine(character) {
            safe.push(character);
        } else {
            push_bytes(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut safe);
        }
    }
    safe.into()
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.len() <= Self::MAX && !text.chars().any(is_unsafe) {
            return Self(text.into());
        }
        let mut safe = String::with_capacity(text.len().min(Self::MAX) + 16);
        push_safe(text, &mut safe);
        Self::bounded(safe)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        (&*text).into()
    }
}

/// The path as it is displayed. Files are opened by the path itself.
impl From<&Path> for Text {
    fn from(path: &Path) -> Self {
        Self::of_bytes(path.as_os_str().as_encoded_bytes())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self("".into())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IntoDeserializer as _;

    use super::*;

    #[test]
    fn escapes_only_unsafe_characters() {
        assert_eq!(Text::from("nvme_alloc+0x1 [nvme] ß \\x1b"), "nvme_alloc+0x1 [nvme] ß \\x1b");
        assert_eq!(Text::from("\x1b[2Ja\n"), "\\x1b[2Ja\\x0a");
        assert_eq!(Text::of_bytes(b"a\xffb"), "a\\xffb");
        assert_eq!(lines("a\nb\x07"), "a\nb\\x07");
        let text: de::value::StrDeserializer<'_, de::value::Error> = "\u{202e}b".into_deserializer();
        assert_eq!(Text::deserialize(text).unwrap(), "\\xe2\\x80\\xaeb");
    }

    #[test]
    fn cuts_long_text_once() {
        let long = Text::from("\x07".repeat(5000));
        assert!(long.len() <= Text::MAX && long.ends_with(Text::CUT), "{}", long.len());
        assert_eq!(Text::from(long.as_str()), long);
        assert_eq!(Text::from("a".repeat(Text::MAX)), "a".repeat(Text::MAX).as_str());
    }

    proptest! {
        #[test]
        fn escaping_is_idempotent(bytes: Vec<u8>, text in any::<String>()) {
            for text in [Text::of_bytes(&bytes), Text::from(text)] {
                prop_assert!(!text.chars().any(is_unsafe));
                prop_assert_eq!(&Text::from(text.as_str()), &text);
                prop_assert_eq!(&Text::of_bytes(text.as_bytes()), &text);
            }
        }
    }
}
