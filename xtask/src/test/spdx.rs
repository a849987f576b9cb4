//! Licence expressions: `MIT OR (Apache-2.0 WITH LLVM-exception AND ISC)`.

use std::iter::Peekable;
use std::vec::IntoIter;

/// Whether the expression can be met with licences for which `accepts` says yes; `None` if it cannot be read.
///
/// A licence with an exception is asked for as a whole: `Apache-2.0 WITH LLVM-exception`. A slash is an old way to write
/// OR.
pub(super) fn allows(expression: &str, accepts: impl Fn(&str) -> bool) -> Option<bool> {
    let mut words = words(expression);
    let result = either(&mut words, &accepts)?;
    words.next().is_none().then_some(result)
}

type Words = Peekable<IntoIter<String>>;

fn words(expression: &str) -> Words {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    spaced
        .split_whitespace()
        .map(ToOwned::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
        .peekable()
}

fn either(words: &mut Words, accepts: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut result = both(words, accepts)?;
    while words.next_if(|word| word == "OR").is_some() {
        result |= both(words, accepts)?;
    }
    Some(result)
}

fn both(words: &mut Words, accepts: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut result = one(words, accepts)?;
    while words.next_if(|word| word == "AND").is_some() {
        result &= one(words, accepts)?;
    }
    Some(result)
}

fn one(words: &mut Words, accepts: &impl Fn(&str) -> bool) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let result = either(words, accepts)?;
        return (words.next()? == ")").then_some(result);
    }
    if ["OR", "AND", "WITH", ")"].contains(&word.as_str()) {
        return None;
    }
    if words.next_if(|word| word == "WITH").is_some() {
        return Some(accepts(&format!("{word} WITH {}", words.next()?)));
    }
    Some(accepts(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_or_llvm(licence: &str) -> bool {
        licence == "MIT" || licence == "Apache-2.0 WITH LLVM-exception"
    }

    #[test]
    fn expressions_are_weighed_as_written() {
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("Apache-2.0", Some(false)),
            ("MIT OR Apache-2.0", Some(true)),
            ("MIT/Apache-2.0", Some(true)),
            ("MIT AND Apache-2.0", Some(false)),
            ("Apache-2.0 OR MIT AND ISC", Some(false)),
            ("(Apache-2.0 OR MIT) AND MIT", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("ISC WITH LLVM-exception", Some(false)),
        ] {
            assert_eq!(allows(expression, mit_or_llvm), expected, "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_allowed() {
        for expression in ["", "MIT OR", "(MIT", "MIT MIT", "OR MIT", "MIT WITH"] {
            assert_eq!(allows(expression, mit_or_llvm), None, "{expression}");
        }
    }
}
