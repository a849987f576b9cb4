//! The characters that no output may contain.

use std::{cmp::Ordering, ops::RangeInclusive};

/// Characters that control a terminal, break or reorder a line, or are invisible. In Unicode 16: the general
/// categories Cc, Cf, Zl, Zp, Co and the noncharacters of Cn, and the properties `Bidi_Control` and
/// `Default_Ignorable_Code_Point` (`UnicodeData.txt`, `PropList.txt`, `DerivedCoreProperties.txt`). Also the
/// Braille blank, which is a letter that looks like a space. Sorted.
const UNSAFE: [RangeInclusive<char>; 48] = [
    '\0'..='\x1f',
    '\x7f'..='\u{9f}',
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{e000}'..='\u{f8ff}',
    '\u{fdd0}'..='\u{fdef}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    // U+FFFC stands for an absent object. U+FFFD stands for unreadable text and is visible.
    '\u{fff0}'..='\u{fffc}',
    '\u{fffe}'..='\u{ffff}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{1fffe}'..='\u{1ffff}',
    '\u{2fffe}'..='\u{2ffff}',
    '\u{3fffe}'..='\u{3ffff}',
    '\u{4fffe}'..='\u{4ffff}',
    '\u{5fffe}'..='\u{5ffff}',
    '\u{6fffe}'..='\u{6ffff}',
    '\u{7fffe}'..='\u{7ffff}',
    '\u{8fffe}'..='\u{8ffff}',
    '\u{9fffe}'..='\u{9ffff}',
    '\u{afffe}'..='\u{affff}',
    '\u{bfffe}'..='\u{bffff}',
    '\u{cfffe}'..='\u{cffff}',
    '\u{dfffe}'..='\u{dffff}',
    '\u{e0000}'..='\u{e0fff}',
    '\u{efffe}'..='\u{effff}',
    '\u{f0000}'..='\u{fffff}',
    '\u{100000}'..='\u{10fffd}',
    '\u{10fffe}'..='\u{10ffff}',
];

/// Returns whether an output must escape this character.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    if matches!(character, ' '..='~') {
        return false;
    }
    let place = |range: &RangeInclusive<char>| match () {
        () if *range.end() < character => Ordering::Less,
        () if *range.start() > character => Ordering::Greater,
        () => Ordering::Equal,
    };
    UNSAFE.binary_search_by(place).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted() {
        assert!(UNSAFE.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }

    #[test]
    fn recognizes_each_kind_of_unsafe_character() {
        let kinds = "\x1b\u{9b}\u{61c}\u{ad}\u{34f}\u{180e}\u{3164}\u{fe0f}\u{fff9}\u{e0041}\u{e0101}\u{200b}\u{202e}\
                     \u{2028}\u{2066}\u{feff}\u{115f}\u{ffa0}\u{e000}\u{fdd0}\u{10ffff}\u{1d173}\u{2800}";
        for character in kinds.chars() {
            assert!(is_unsafe(character), "{character:?}");
        }
        for character in "az ~ß€\u{301}漢\u{fffd}🦀\u{1f600}".chars() {
            assert!(!is_unsafe(character), "{character:?}");
        }
        assert!((0..=0x0010_ffff).filter_map(char::from_u32).filter(|c| c.is_control()).all(is_unsafe));
    }
}
