//! The search of `recover` through a raw image, against a plain read of the same file, each on one core and with the file in
//! the page cache. Only the ratio in one run means anything: both spend most of their time in the kernel.
//!
//! `cargo bench -p p2p-trace --bench recover`.

#![expect(clippy::disallowed_methods, reason = "an image in the folder for temporary files")]

use std::fs::{File, remove_file};
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use p2p_trace_dump::recover::{CoreFile, Search, carve, open};

/// Bytes of the image.
const SIZE: usize = 1 << 29;
/// What it is written by.
const BLOCK: usize = 1 << 20;

fn main() {
    divan::main();
}

/// An image of noise, in which nothing of ours lies; removed when it is dropped.
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

/// `read` into a buffer of so many KiB, and nothing else.
#[divan::bench(args = [128, 256, 1024], sample_count = 10, sample_size = 1)]
fn plain_read(bencher: Bencher<'_, '_>, kib: usize) {
    let image = Image::new("plain").expect("an image in the temporary directory");
    let mut buffer = vec![0; kib << 10];
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        let read = read_plainly(&image.0, &mut buffer).expect("the image can be read");
        assert_eq!(read, SIZE as u64);
    });
}

/// Opened and searched for records.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn searched(bencher: Bencher<'_, '_>) {
    let image = Image::new("searched").expect("an image in the temporary directory");
    let search = Search { workers: NonZero::new(1), ..Search::default() };
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        let file = File::open(&image.0).and_then(CoreFile::new).expect("the image can be opened");
        let memory = open(file, None).expect("the image is one");
        let carved = carve(&*memory, search, |_| {});
        assert_eq!(carved.searched, SIZE as u64);
    });
}
