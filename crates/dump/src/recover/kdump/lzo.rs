//! LZO1X, as the kernel documents its stream (Linux: `Documentation/staging/lzo.rst`, bitstream version 0):
//! instructions of one byte or more, each of which copies earlier output, then some literals from the input.

/// Decompresses and returns the number of bytes written; `None` if the input is invalid or does not fit.
pub(super) fn decompress(input: &[u8], output: &mut [u8]) -> Option<usize> {
    let mut stream = Stream { input, output, written: 0 };
    // The meaning of the instructions 0 to 15 depends on the number of literals that the last one copied.
    let mut literals = match *input.first()? {
        first @ 18..=255 => {
            stream.byte()?;
            stream.literals(usize::from(first) - 17)?;
            (usize::from(first) - 17).min(4)
        }
        // 17 introduces a bitstream version, of which only 0 is known to occur in dumps.
        17 if input.len() > 5 => return None,
        _ => 0,
    };
    loop {
        let code = usize::from(stream.byte()?);
        let (distance, length, state) = match code {
            0..=15 if literals == 0 => {
                let length = 3 + stream.length(code, 15)?;
                stream.literals(length)?;
                literals = 4;
                continue;
            }
            0..=15 => {
                let more = usize::from(stream.byte()?) << 2 | code >> 2;
                match literals {
                    4 => (more + 2049, 3, code),
                    _ => (more + 1, 2, code),
                }
            }
            16..=31 => {
                let length = 2 + stream.length(code & 7, 7)?;
                let word = stream.word()?;
                let distance = 16384 + ((code & 8) << 11) + (word >> 2);
                if distance == 16384 {
                    // The end of the stream.
                    return (stream.input.is_empty() && length == 3).then_some(stream.written);
                }
                (distance, length, word)
            }
            32..=63 => {
                let length = 2 + stream.length(code & 31, 31)?;
                let word = stream.word()?;
                ((word >> 2) + 1, length, word)
            }
            64..=127 => {
                let more = usize::from(stream.byte()?) << 3;
                (more + (code >> 2 & 7) + 1, 3 + (code >> 5 & 1), code)
            }
            _ => {
                let more = usize::from(stream.byte()?) << 3;
                (more + (code >> 2 & 7) + 1, 5 + (code >> 5 & 3), code)
            }
        };
        stream.copy(distance, length)?;
        literals = state & 3;
        stream.literals(literals)?;
    }
}

struct Stream<'a> {
    input: &'a [u8],
    output: &'a mut [u8],
    written: usize,
}

impl Stream<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<usize> {
        let low = usize::from(self.byte()?);
        Some(low | usize::from(self.byte()?) << 8)
    }

    /// A length in some bits of the code, or, if they are 0, in the bytes that follow.
    fn length(&mut self, bits: usize, base: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut length = base;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                last => return length.checked_add(usize::from(last)),
            }
        }
    }

    fn literals(&mut self, length: usize) -> Option<()> {
        let end = self.written.checked_add(length)?;
        let target = self.output.get_mut(self.written..end)?;
        target.copy_from_slice(self.input.get(..length)?);
        self.input = &self.input[length..];
        self.written = end;
        Some(())
    }

    /// Repeats output from `distance` bytes before; the source may overlap the destination.
    fn copy(&mut self, distance: usize, length: usize) -> Option<()> {
        let from = self.written.checked_sub(distance)?;
        let end = self.written.checked_add(length)?;
        if end > self.output.len() {
            return None;
        }
        for index in 0..length {
            self.output[self.written + index] = self.output[from + index];
        }
        self.written = end;
        Some(())
    }
}
