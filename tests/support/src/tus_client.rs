//! An upload in parts, as a client of tus 1.0 makes it: step by step, and each at any node.

use std::net::SocketAddr;

use crate::Source;
use crate::connection::{Connection, head};
use crate::reply::Reply;
use crate::server::try_call;

const VERSION: &str = "Tus-Resumable: 1.0.0";
const PART_TYPE: &str = "Content-Type: application/offset+octet-stream";

/// One that was begun. Its requests have these headers besides those that they need.
#[derive(Clone)]
pub struct TusUpload {
    path: String,
    headers: Vec<&'static str>,
}

impl TusUpload {
    pub fn begin(
        node: SocketAddr,
        source: &Source,
        bytes: usize,
        headers: &[&'static str],
    ) -> Self {
        let length = format!("Upload-Length: {bytes}");
        let all = [&[VERSION, &length], headers].concat();
        let begun = try_call(node, "POST", &source.upload_path(), &all, b"").unwrap();
        assert_eq!(begun.status, 201, "{begun:?}");
        let url = begun.header("location").unwrap();
        Self {
            path: url[url.find("/v1/").unwrap()..].to_owned(),
            headers: headers.to_vec(),
        }
    }

    /// The same upload, whose requests have other headers.
    pub fn with(&self, headers: &[&'static str]) -> Self {
        Self {
            path: self.path.clone(),
            headers: headers.to_vec(),
        }
    }

    /// How far it is.
    pub fn offset(&self, node: SocketAddr) -> usize {
        let headers = [&[VERSION], self.headers.as_slice()].concat();
        let found = try_call(node, "HEAD", &self.path, &headers, b"").unwrap();
        assert_eq!(found.status, 200, "{found:?}");
        offset_in(&found)
    }

    /// Sends a part; no answer where the node ends before it has given one.
    pub fn try_patch(&self, node: SocketAddr, at: usize, part: &[u8]) -> Option<Reply> {
        let at = format!("Upload-Offset: {at}");
        let headers = [&[VERSION, PART_TYPE, &at], self.headers.as_slice()].concat();
        try_call(node, "PATCH", &self.path, &headers, part)
    }

    /// Sends a part, which is taken; says how far it is then.
    pub fn patch(&self, node: SocketAddr, at: usize, part: &[u8]) -> usize {
        let reply = self.try_patch(node, at, part).unwrap();
        assert_eq!(reply.status, 204, "{reply:?}");
        offset_in(&reply)
    }

    /// Says that a part of so many bytes comes, of which none is sent yet.
    pub fn start_part(&self, node: SocketAddr, at: usize, bytes: usize) -> Connection {
        let at = format!("Upload-Offset: {at}");
        let length = format!("Content-Length: {bytes}");
        let mut connection = Connection::open(node);
        let headers = [VERSION, PART_TYPE, &at, &length];
        connection.send(head("PATCH", &self.path, &headers));
        connection
    }
}

pub fn offset_in(reply: &Reply) -> usize {
    reply.header("upload-offset").unwrap().parse().unwrap()
}
