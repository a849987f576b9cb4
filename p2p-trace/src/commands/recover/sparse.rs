//! A sparse file. Reading skips its holes: a memory image can have a terabyte, most of it a hole.

use std::{fs::File, io, ops::Range};

use p2p_trace_dump::recover::{CoreFile, ReadAt};

pub(super) struct SparseFile {
    file: CoreFile,
    /// The same open file, for seeking. Nothing else uses its position.
    #[cfg(target_os = "linux")]
    seeking: File,
}

impl SparseFile {
    /// Uses an open file. Fails if its size is unknown, such as that of a pipe.
    pub(super) fn new(file: File) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let seeking = file.try_clone()?;
        Ok(Self {
            file: CoreFile::new(file)?,
            #[cfg(target_os = "linux")]
            seeking,
        })
    }

    #[cfg(target_os = "linux")]
    fn seek(&self, offset: u64, whence: libc::c_int) -> io::Result<u64> {
        use std::os::fd::AsRawFd as _;

        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: lseek takes numbers only, and the descriptor is open as long as `self` is.
        let found = unsafe { libc::lseek(self.seeking.as_raw_fd(), offset, whence) };
        u64::try_from(found).map_err(|_negative| io::Error::last_os_error())
    }
}

impl ReadAt for SparseFile {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    #[cfg(target_os = "linux")]
    fn data(&self, offset: u64) -> Option<Range<u64>> {
        let rest = || self.file.data(offset);
        match self.seek(offset, libc::SEEK_DATA) {
            Ok(start) => {
                let end = self.seek(start, libc::SEEK_HOLE).unwrap_or_else(|_| self.size());
                Some(start..end)
            }
            // After the last data.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => None,
            // A block device, or a file system that does not report holes.
            Err(_) => rest(),
        }
    }
}
