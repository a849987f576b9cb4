//! The information that a kernel leaves in its memory dumps: lines of `NAME=value` (Linux:
//! `Documentation/admin-guide/kdump/vmcoreinfo.rst`).

use p2p_trace_model::text::Text;

use super::bytes::u32_at;

/// Maximum bytes that are read. The kernel's own information fits into a page.
pub(super) const LIMIT: usize = 1 << 16;

/// The name of the ELF note with this information.
const NOTE: &[u8] = b"VMCOREINFO\0";

/// The lines in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmcoreInfo {
    /// `OSRELEASE`: the release of the kernel.
    pub release: Option<Text>,
    /// `KERNELOFFSET`: the distance by which KASLR has moved the kernel, in bytes.
    pub kaslr_offset: Option<u64>,
    /// `CRASHTIME`: the time of the crash, in seconds since 1970.
    pub crash_time: Option<u64>,
}

impl VmcoreInfo {
    /// Parses the lines. Lines that are not text are ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once('='))
            else {
                continue;
            };
            match name {
                "OSRELEASE" => info.release = release(value),
                "KERNELOFFSET" => info.kaslr_offset = u64::from_str_radix(value, 16).ok(),
                "CRASHTIME" => info.crash_time = value.parse().ok(),
                _ => {}
            }
        }
        info
    }

    /// Finds the information in ELF notes.
    pub(crate) fn find(notes: &[u8]) -> Option<Self> {
        let mut rest = notes;
        loop {
            let name_length = u32_at(rest, 0)? as usize;
            let length = u32_at(rest, 4)? as usize;
            let name = rest.get(12..)?.get(..name_length)?;
            let at = 12usize.checked_add(name_length.checked_next_multiple_of(4)?)?;
            let text = rest.get(at..)?;
            if name == NOTE {
                return Some(Self::parse(&text[..text.len().min(length)]));
            }
            rest = text.get(length.checked_next_multiple_of(4)?..)?;
        }
    }
}

/// A release of printable characters, if its length is plausible.
fn release(value: &str) -> Option<Text> {
    let value = value.trim_end_matches('\0');
    let is_sound =
        !value.is_empty() && value.len() <= 64 && value.chars().all(|char| char.is_ascii_graphic());
    is_sound.then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"OSRELEASE=7.3.4+deb13-amd64\nPAGESIZE=4096\nKERNELOFFSET=1e000000\nCRASHTIME=1795370405\n";

    #[test]
    fn parses_known_lines_and_ignores_others() {
        let info = VmcoreInfo::parse(TEXT);
        assert_eq!(info.release.as_deref(), Some("7.3.4+deb13-amd64"));
        assert_eq!(info.kaslr_offset, Some(0x1e00_0000));
        assert_eq!(info.crash_time, Some(1_795_370_405));
        assert_eq!(VmcoreInfo::parse(b"OSRELEASE=\x01\nKERNELOFFSET=x\n\xff=\n"), VmcoreInfo::default());
    }

    #[test]
    fn finds_note_behind_others_but_not_behind_the_end() {
        let note = |name: &[u8], text: &[u8]| {
            let mut note = Vec::new();
            for number in [name.len() as u32, text.len() as u32, 0] {
                note.extend(number.to_le_bytes());
            }
            for part in [name, text] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
            note
        };
        let notes = [note(b"CORE\0", &[7; 31]), note(NOTE, TEXT)].concat();
        assert_eq!(VmcoreInfo::find(&notes), Some(VmcoreInfo::parse(TEXT)));
        for end in 0..notes.len() {
            let cut = VmcoreInfo::find(&notes[..end]);
            assert!(cut.is_none_or(|info| {
                info.release.is_none_or(|release| TEXT[10..].starts_with(release.as_bytes()))
            }));
        }
        assert_eq!(VmcoreInfo::find(&[0xff; 64]), None);
    }
}
