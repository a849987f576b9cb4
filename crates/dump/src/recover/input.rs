//! Input of a memory dump: a file, or bytes in memory.

use std::{fs::File, io, ops::Range};

/// Bytes with random access, from several threads at once.
pub trait ReadAt: Sync {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on and returns the number of bytes, which is less than requested only at
    /// the end.
    ///
    /// # Errors
    ///
    /// If reading fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The first range at or behind `offset` that may contain non-zero bytes; `None`: there is none up to the
    /// end.
    fn data(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.size()).then(|| offset..self.size())
    }

    /// The bytes from `offset` on: `length` bytes, or up to the end.
    ///
    /// # Errors
    ///
    /// If reading fails. `length` must be known to be small, since it is allocated.
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

/// A file whose size was determined when it was opened. It is read, not mapped, so that a file that shrinks
/// meanwhile causes a short read instead of a fault.
#[derive(Debug)]
pub struct CoreFile {
    file: File,
    size: u64,
}

impl CoreFile {
    /// Wraps an open file.
    ///
    /// # Errors
    ///
    /// If it has no size, like a pipe.
    pub fn new(mut file: File) -> io::Result<Self> {
        use std::io::Seek as _;
        // Block devices report their size here, and 0 in their metadata.
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
                // Return the bytes read before the error.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
