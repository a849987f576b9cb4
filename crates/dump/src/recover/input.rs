//! What a memory dump is read from: a file, or bytes in memory.

use std::{fs::File, io, ops::Range};

/// Bytes that can be read at any place, by several threads at once.
pub trait ReadAt: Sync {
    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on, and says how much of it; less than all only where the bytes end.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The first stretch at or behind `offset` that is not known to be all zeros; `None`: there is none up to the end.
    fn data(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.size()).then(|| offset..self.size())
    }

    /// The bytes from `offset` on, `length` of them or up to the end.
    ///
    /// # Errors
    ///
    /// When they cannot be read. `length` must be known to be small: it is what is allocated.
    fn bytes(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        let read = self.read_at(offset, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn data(&self, offset: u64) -> Option<Range<u64>> {
        (**self).data(offset)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }
}

/// A file of a size that was known when it was opened. It is read, not mapped: a file that shrinks meanwhile is a short
/// read then, and no fault.
#[derive(Debug)]
pub struct CoreFile {
    file: File,
    size: u64,
}

impl CoreFile {
    /// Takes over an open file.
    ///
    /// # Errors
    ///
    /// When its size cannot be told, as that of a pipe.
    pub fn new(mut file: File) -> io::Result<Self> {
        use std::io::Seek as _;
        // Block devices have their size here, and 0 in their metadata.
        let size = file.seek(io::SeekFrom::End(0))?;
        Ok(Self { file, size })
    }

    #[cfg(unix)]
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)
    }
}

impl ReadAt for CoreFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(offset.saturating_add(filled as u64), &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was read before is good.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
