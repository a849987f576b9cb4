//! What is asked of the references: which of them, how grouped, in which order. Those who have a million of them answer
//! it in full and keep the first [`super::MAX_ROWS`]; the screen applies it again to what it was given.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Which.
    pub(crate) filter: Filter,
    pub(crate) grouping: Grouping,
    /// Ordered by.
    pub(crate) column: Column,
    /// The other way round.
    pub(crate) reversed: bool,
}

/// How references are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// By the process that took them.
    #[default]
    Process,
    /// By the function that took them.
    Caller,
    /// Each by itself.
    Flat,
}

impl Grouping {
    /// The name on the screen.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Process => "by process",
            Self::Caller => "by caller",
            Self::Flat => "one by one",
        }
    }

    /// The one after it.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Process => Self::Caller,
            Self::Caller => Self::Flat,
            Self::Flat => Self::Process,
        }
    }
}

/// A column by which references can be ordered: the largest, oldest or first in the alphabet come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Column {
    /// Bytes.
    #[default]
    Bytes,
    /// References to the range.
    References,
    /// When the oldest was taken.
    Age,
    Process,
    /// Whether its process is still there.
    Liveness,
    /// Allocation, scatter list or mmap.
    Kind,
    Device,
    /// The function that took it.
    Caller,
    Address,
}

impl Column {
    /// In the order of the screen.
    pub(crate) const ALL: [Self; 9] = [
        Self::Process,
        Self::Liveness,
        Self::Kind,
        Self::Bytes,
        Self::References,
        Self::Age,
        Self::Device,
        Self::Caller,
        Self::Address,
    ];

    /// The one to the right, and from the last to the first.
    pub(crate) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|&column| column == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// Words that all must be found: each anywhere, or, written `process:p2pdio`, in that field only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    text: String,
    terms: Vec<(Option<Field>, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Device,
    Process,
    Caller,
    Kind,
}

/// The prefixes that name a field.
const FIELDS: [(&str, Field); 4] = [
    ("device:", Field::Device),
    ("process:", Field::Process),
    ("caller:", Field::Caller),
    ("kind:", Field::Kind),
];

/// What a filter looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields<'a> {
    /// Address and names of the device.
    pub(crate) device: &'a str,
    /// Name and number of the process.
    pub(crate) process: &'a str,
    pub(crate) caller: &'a str,
    pub(crate) kind: &'a str,
}

impl Filter {
    /// Reads what was typed.
    pub(crate) fn new(text: &str) -> Self {
        let term = |word: &str| {
            let word = word.to_lowercase();
            FIELDS
                .iter()
                .find_map(|&(prefix, field)| Some((Some(field), word.strip_prefix(prefix)?.to_owned())))
                .unwrap_or((None, word))
        };
        Self { text: text.to_owned(), terms: text.split_whitespace().map(term).collect() }
    }

    /// As it was typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Everything matches.
    pub(crate) const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// All words are found.
    pub(crate) fn matches(&self, fields: &Fields<'_>) -> bool {
        self.terms.iter().all(|(field, word)| {
            let has = |text: &str| text.to_lowercase().contains(word);
            match field {
                Some(Field::Device) => has(fields.device),
                Some(Field::Process) => has(fields.process),
                Some(Field::Caller) => has(fields.caller),
                Some(Field::Kind) => has(fields.kind),
                None => [fields.device, fields.process, fields.caller, fields.kind].into_iter().any(has),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_must_be_found_where_they_say() {
        let fields = Fields {
            device: "0000:03:00.0 nvme0",
            process: "p2pdio[726]",
            caller: "nvme_alloc_queue+0x177 [nvme]",
            kind: "mmap",
        };
        for (text, expected) in [
            ("", true),
            ("P2PDIO", true),
            ("p2pdio mmap", true),
            ("p2pdio alloc_list", false),
            ("kind:mmap nvme0", true),
            ("process:nvme", false),
            ("caller:nvme device:03", true),
            ("kind:", true),
        ] {
            assert_eq!(Filter::new(text).matches(&fields), expected, "{text}");
        }
    }

    #[test]
    fn columns_and_groupings_come_round() {
        let mut column = Column::default();
        for _ in Column::ALL {
            column = column.next();
        }
        assert_eq!(column, Column::default());
        let grouping = Grouping::default();
        assert_eq!(grouping.next().next().next(), grouping);
    }
}
