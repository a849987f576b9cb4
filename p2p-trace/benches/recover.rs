//! The search of `recover` through a raw image, compared with a plain read of the same file, each on one core and with the
//! file in the page cache. Only the ratio within one run is meaningful: both spend most of their time in the kernel.
//!
//! `cargo bench -p p2p-trace --bench recover`.

#![expect(clippy::disallowed_methods, reason = "an image in a temporary folder")]

use std::fs::{File, remove_file};
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use p2p_trace_dump::recover::{CoreFile, Search, carve, open};

/// The size of the image in bytes.
const SIZE: usize = 1 << 29;
/// Bytes per write of the image.
const BLOCK: usize = 1 << 20;

fn main() {
    divan::main();
}

/// An image of noise without any p2p-trace record. The file is removed on drop.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("p2p-trace-bench-{}-{name}", std::process::id()));
        let mut file = File::create_new(&path)?;
        let image = Self(path);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut block = Vec::with_capacity(BLOCK);
        for _ in 0..SIZE / BLOCK {
            block.clear();
            while block.len() < BLOCK {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                block.extend_from_slice(&random.to_le_bytes());
            }
            file.write_all(&block)?;
        }
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        drop(remove_file(&self.0));
    }
}

fn read_plainly(path: &Path, buffer: &mut [u8]) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut total = 0;
    loop {
        let count = file.read(buffer)?;
        if count == 0 {
            return Ok(total);
        }
        black_box(&buffer[..count]);
        total += count as u64;
    }
}

/// Only `read` into a buffer of `kib` KiB.
#[divan::bench(args = [128, 256, 1024], sample_count = 10, sample_size = 1)]
fn plain_read(bencher: Bencher<'_, '_>, kib: usize) {
    let image = Image::new("plain").expect("an image in the temporary directory");
    let mut buffer = vec![0; kib << 10];
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        let read = read_plainly(&image.0, &mut buffer).expect("the image can be read");
        assert_eq!(read, SIZE as u64);
    });
}

/// Opens the image and searches it for records.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn search(bencher: Bencher<'_, '_>) {
    let image = Image::new("searched").expect("an image in the temporary directory");
    let search = Search { workers: NonZero::new(1), ..Search::default() };
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        let file = File::open(&image.0).and_then(CoreFile::new).expect("the image can be opened");
        let memory = open(file, None).expect("the image is recognized");
        let carved = carve(&*memory, search, |_| {});
        assert_eq!(carved.searched, SIZE as u64);
    });
}
