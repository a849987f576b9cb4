//! Text from outside: of a dump, a command line, the running kernel, another process.
//!
//! Whoever wrote it may mean harm: with escape sequences that drive a terminal, with line breaks that forge a line of ours, with
//! characters that are not seen or that reorder what is around them. A [`Text`] is safe from the moment it is made, so nothing
//! that prints it has to think of that. What is markup in Markdown or HTML is left to those who write these.

mod characters;

use std::{borrow::Cow, fmt, ops::Deref, path::Path, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use characters::is_unsafe;

/// Text from outside, made safe: one line, of at most [`Text::MAX`] bytes, in which every character is seen.
///
/// An unsafe character is written as its bytes in UTF-8, each as `\xNN`. A backslash stays as it is, so making safe what is safe
/// changes nothing: a dump can be read and written again without end. (`event::escape` also doubles backslashes, and leads back;
/// its work is safe, and stays as it is here.)
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

impl Text {
    /// Bytes that a text can have. What is longer is cut, and ends with [`Text::CUT`].
    pub const MAX: usize = 4096;
    /// The end of a text that was cut.
    pub const CUT: char = '…';

    /// Made of bytes that should be text: what is no UTF-8 is written as `\xNN`, too.
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

    /// The same as a string slice.
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

/// Several lines of which each is made safe: for a message that is more than one line by itself, and as a last resort.
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

/// As it is shown; the file is opened by the path itself.
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
    fn what_is_safe_stays_and_the_rest_is_seen() {
        assert_eq!(Text::from("nvme_alloc+0x1 [nvme] ß \\x1b"), "nvme_alloc+0x1 [nvme] ß \\x1b");
        assert_eq!(Text::from("\x1b[2Ja\n"), "\\x1b[2Ja\\x0a");
        assert_eq!(Text::of_bytes(b"a\xffb"), "a\\xffb");
        assert_eq!(lines("a\nb\x07"), "a\nb\\x07");
        let text: de::value::StrDeserializer<'_, de::value::Error> = "\u{202e}b".into_deserializer();
        assert_eq!(Text::deserialize(text).unwrap(), "\\xe2\\x80\\xaeb");
    }

    #[test]
    fn a_long_text_is_cut_once() {
        let long = Text::from("\x07".repeat(5000));
        assert!(long.len() <= Text::MAX && long.ends_with(Text::CUT), "{}", long.len());
        assert_eq!(Text::from(long.as_str()), long);
        assert_eq!(Text::from("a".repeat(Text::MAX)), "a".repeat(Text::MAX).as_str());
    }

    proptest! {
        #[test]
        fn making_safe_twice_is_making_safe_once(bytes: Vec<u8>, text in any::<String>()) {
            for text in [Text::of_bytes(&bytes), Text::from(text)] {
                prop_assert!(!text.chars().any(is_unsafe));
                prop_assert_eq!(&Text::from(text.as_str()), &text);
                prop_assert_eq!(&Text::of_bytes(text.as_bytes()), &text);
            }
        }
    }
}
