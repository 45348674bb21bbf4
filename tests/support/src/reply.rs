//! An answer, read from the bytes that came.

use std::fmt;

use serde_json::Value;

/// An answer of the server, and what the program that asked said about it.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What curl printed about the exchange; empty for a bare connection.
    pub trace: String,
}

impl Reply {
    /// Reads the first final answer, and returns what follows it; none if it has not come whole.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (mut reply, rest) = Self::parse_head(bytes)?;
        let length = reply.header("content-length").unwrap_or("0");
        let length: usize = length.parse().unwrap();
        reply.body = rest.get(..length)?.to_vec();
        Some((reply, &rest[length..]))
    }

    /// Reads an answer without its body: there is none to HEAD, and it may have gone elsewhere.
    pub fn parse_head(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let rest = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status < 200 {
            return Self::parse_head(rest);
        }
        let reply = Self {
            status,
            headers: lines.map(header_of).collect(),
            body: Vec::new(),
            trace: String::new(),
        };
        Some((reply, rest))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(of, _)| of == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} was sent twice");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(400)];
        writeln!(f, "status {}, headers {:?}", self.status, self.headers)?;
        writeln!(f, "body: {}", String::from_utf8_lossy(shown))?;
        write!(f, "{}", self.trace)
    }
}

fn header_of(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
