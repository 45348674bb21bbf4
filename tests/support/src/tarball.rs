//! Tars made header by header, so that a test can say what no program would write.

/// A tar that grows; [`Tarball::end`] ends it.
#[derive(Clone, Default)]
pub struct Tarball(Vec<u8>);

/// One header, in the format of POSIX, until a test changes it.
#[derive(Clone)]
pub struct Header(pub [u8; 512]);

impl Header {
    pub fn new(name: &[u8], kind: u8, bytes: usize) -> Self {
        let mut header = Self([0; 512]);
        header.0[..name.len()].copy_from_slice(name);
        header.set(100, b"0000644\0");
        header.set(108, b"0000000\0");
        header.set(116, b"0000000\0");
        header.set(124, format!("{bytes:011o}\0").as_bytes());
        header.set(136, b"14000000000\0");
        header.0[156] = kind;
        header.set(257, b"ustar\x0000");
        header
    }

    pub fn link(self, target: &[u8]) -> Self {
        self.with(157, target)
    }

    pub fn executable(self) -> Self {
        self.with(100, b"0000755\0")
    }

    /// The same with other bytes at a place.
    pub fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.set(at, bytes);
        self
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Its bytes, with the right checksum.
    fn sealed(mut self) -> [u8; 512] {
        self.set(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.set(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

impl Tarball {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(Header::new(name.as_bytes(), b'0', content.len()), content)
    }

    pub fn folder(self, name: &str) -> Self {
        let header = Header::new(name.as_bytes(), b'5', 0).executable();
        self.entry(header, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        let header = Header::new(name.as_bytes(), b'2', 0).link(target.as_bytes());
        self.entry(header, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        let header = Header::new(name.as_bytes(), b'1', 0).link(target.as_bytes());
        self.entry(header, b"")
    }

    /// GNU tar's way to say a long name (`L`) or a long target (`K`) of the next entry.
    pub fn long(self, kind: u8, text: &[u8]) -> Self {
        let text = [text, b"\0"].concat();
        let header = Header::new(b"././@LongLink", kind, text.len()).with(257, b"ustar  \0");
        self.entry(header, &text)
    }

    /// The way of POSIX, for the next entry (`x`) or all that follow (`g`).
    pub fn attributes(self, kind: u8, attributes: &[(&str, &[u8])]) -> Self {
        let lines = attributes.iter().flat_map(|(key, value)| line(key, value));
        let lines: Vec<_> = lines.collect();
        self.entry(Header::new(b"attributes", kind, lines.len()), &lines)
    }

    /// A header, whatever it says, and content.
    pub fn entry(self, header: Header, content: &[u8]) -> Self {
        let header = header.sealed();
        self.raw(&header).content(content)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn content(self, content: &[u8]) -> Self {
        let padding = content.len().next_multiple_of(512) - content.len();
        self.raw(content).raw(&vec![0; padding])
    }

    /// The whole archive.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }

    /// What there is so far.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// `LENGTH KEY=VALUE`, where the length counts its own digits.
fn line(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut digits = 1;
    while (rest.len() + digits).to_string().len() != digits {
        digits += 1;
    }
    let length = (rest.len() + digits).to_string();
    [length.as_bytes(), &rest].concat()
}
