//! Builds small BTF by hand, for tests.

/// BTF under construction. Each method that adds a type returns its id.
#[derive(Default)]
pub struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

/// A member: name, type id, and offset in bits (with the bit-field width in the top byte where the struct says so).
pub type MemberSpec<'a> = (&'a str, u32, u32);

impl Builder {
    pub fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    /// The id of the last added type.
    pub const fn count(&self) -> u32 {
        self.count
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// Adds any record: kind, flag, element count, size or type, and the words that follow it.
    pub fn raw(&mut self, name: &str, kind: u8, flag: bool, len: usize, size: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | u32::from(kind) << 24 | len as u32;
        for word in [name, info, size].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.raw(name, 1, false, 0, size, &[size * 8])
    }

    pub fn pointer(&mut self, to: u32) -> u32 {
        self.raw("", 2, false, 0, to, &[])
    }

    pub fn array(&mut self, of: u32, count: u32) -> u32 {
        self.raw("", 3, false, 0, 0, &[of, of, count])
    }

    /// A struct (kind 4) or union (kind 5).
    pub fn composite(
        &mut self,
        kind: u8,
        name: &str,
        flag: bool,
        size: u32,
        members: &[MemberSpec<'_>],
    ) -> u32 {
        let tail: Vec<u32> =
            members.iter().flat_map(|&(name, type_id, place)| [self.string(name), type_id, place]).collect();
        self.raw(name, kind, flag, members.len(), size, &tail)
    }

    pub fn structure(&mut self, name: &str, size: u32, members: &[MemberSpec<'_>]) -> u32 {
        self.composite(4, name, false, size, members)
    }

    pub fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.raw(name, 8, false, 0, of, &[])
    }

    pub fn constant(&mut self, of: u32) -> u32 {
        self.raw("", 10, false, 0, of, &[])
    }

    pub fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, u32)]) -> u32 {
        let tail: Vec<u32> = values.iter().flat_map(|&(name, value)| [self.string(name), value]).collect();
        self.raw(name, 6, signed, values.len(), 4, &tail)
    }

    pub fn enumeration64(&mut self, name: &str, values: &[(&str, u64)]) -> u32 {
        let tail: Vec<u32> = values
            .iter()
            .flat_map(|&(name, value)| [self.string(name), value as u32, (value >> 32) as u32])
            .collect();
        self.raw(name, 19, false, values.len(), 8, &tail)
    }

    pub fn function(&mut self, name: &str, returns: u32, params: &[(&str, u32)]) -> u32 {
        let tail: Vec<u32> =
            params.iter().flat_map(|&(name, type_id)| [self.string(name), type_id]).collect();
        let proto = self.raw("", 13, false, params.len(), returns, &tail);
        // A function's element count is its linkage; no elements follow the record.
        self.raw(name, 12, false, 1, proto, &[])
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        self.build_with_layout(&[])
    }

    /// The file, with the layout section of newer kernels: fixed and per-element size of each kind.
    pub fn build_with_layout(&self, layout: &[(u8, u8)]) -> Vec<u8> {
        let header_len = if layout.is_empty() { 24 } else { 32 };
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut file = vec![0x9f, 0xeb, 1, 0];
        let mut words = vec![header_len, 0, types, types, strings];
        if !layout.is_empty() {
            words.extend([types + strings, layout.len() as u32 * 4]);
        }
        file.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
        file.extend_from_slice(&self.types);
        file.extend_from_slice(&self.strings);
        file.extend(layout.iter().flat_map(|&(fixed, each)| [fixed, each, 0, 0]));
        file
    }
}
