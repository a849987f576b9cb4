//! A file with holes, which are passed over: an image of a machine's memory may be a terabyte, and nearly all of it one.

use std::{fs::File, io, ops::Range};

use p2p_trace_dump::recover::{CoreFile, ReadAt};

pub(super) struct SparseFile {
    file: CoreFile,
    /// The same open file, whose position nobody else goes by.
    #[cfg(target_os = "linux")]
    seeking: File,
}

impl SparseFile {
    /// Takes over an open file. Fails where its size cannot be told, as that of a pipe.
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
            // Behind the last of its data.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => None,
            // A block device, or a file system that does not tell.
            Err(_) => rest(),
        }
    }
}
