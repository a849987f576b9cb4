//! The query for holders: filter, grouping and order. The tracing thread answers it from all references and keeps a limited
//! number of rows. The drawing thread applies a newer query to those rows until it is answered.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) filter: Filter,
    pub(crate) grouping: Grouping,
    /// The ordering column.
    pub(crate) column: Column,
    /// Whether the order is reversed.
    pub(crate) reversed: bool,
}

/// How references are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// By the process that allocated the memory.
    #[default]
    Process,
    /// By the function that allocated the memory.
    Caller,
    /// Not grouped.
    Flat,
}

impl Grouping {
    /// The displayed name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Process => "by process",
            Self::Caller => "by caller",
            Self::Flat => "one by one",
        }
    }

    /// The next grouping.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Process => Self::Caller,
            Self::Caller => Self::Flat,
            Self::Flat => Self::Process,
        }
    }
}

/// A column that can order the holders. The largest, oldest or alphabetically first item comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Column {
    /// The memory in bytes.
    #[default]
    Bytes,
    /// The number of references to the range.
    References,
    /// When the oldest memory was allocated.
    Age,
    Process,
    /// Whether the process is alive.
    Liveness,
    /// The kind: allocation, scatter list or mmap.
    Kind,
    Device,
    /// The function that allocated the memory.
    Caller,
    Address,
}

impl Column {
    /// All columns, in the displayed order.
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

    /// The next column to the right; after the last one, the first.
    pub(crate) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|&column| column == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// A filter of words, all of which must match. A word matches any field; `process:p2pdio` matches that field only.
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

/// The fields that a filter matches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields<'a> {
    /// The address and names of the device.
    pub(crate) device: &'a str,
    /// The name and id of the process.
    pub(crate) process: &'a str,
    pub(crate) caller: &'a str,
    pub(crate) kind: &'a str,
}

impl Filter {
    /// Parses a filter.
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

    /// The text as typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether everything matches.
    pub(crate) const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether all words match.
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
    fn matches_all_words_in_their_fields() {
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
    fn cycles_through_columns_and_groupings() {
        let mut column = Column::default();
        for _ in Column::ALL {
            column = column.next();
        }
        assert_eq!(column, Column::default());
        let grouping = Grouping::default();
        assert_eq!(grouping.next().next().next(), grouping);
    }
}
