//! Clients that create, upload and download at once, on servers that may be killed at any instant, and the
//! book of what they were promised.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;

use crate::connection::{CHUNKED, Connection, chunked, head};
use crate::dice::Dice;
use crate::reply::Reply;
use crate::{Source, archive, eventually};

/// How much of a body is sent at once at most.
const PIECE_BYTES: usize = 256 * 1024;

/// A source, and what is known of its archive.
#[derive(Clone, Debug)]
pub struct Entry {
    pub source: Source,
    /// The length of what is sent, in part at least, and the seed it is made from.
    sent: (usize, u64),
    /// An answer has said that it is there.
    pub is_promised: bool,
}

impl Entry {
    pub fn archive(&self) -> Vec<u8> {
        archive(self.sent.0, self.sent.1)
    }

    pub fn has_expired(&self) -> bool {
        Timestamp::now() >= self.source.expires_at()
    }
}

/// An API token, and what is known of it.
#[derive(Clone, Debug)]
pub struct Token {
    pub number: usize,
    pub id: String,
    pub secret: String,
    pub state: TokenState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Promised,
    /// Its deletion was asked for, and not answered.
    Unknown,
    Revoked,
}

/// All that was asked for and answered, over all the servers that ran on a store.
#[derive(Debug, Default)]
pub struct Book {
    entries: Mutex<Vec<Entry>>,
    tokens: Mutex<Vec<Token>>,
}

impl Book {
    pub fn of(entries: Vec<Entry>, tokens: Vec<Token>) -> Self {
        Self {
            entries: Mutex::new(entries),
            tokens: Mutex::new(tokens),
        }
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    pub fn tokens(&self) -> Vec<Token> {
        self.tokens.lock().unwrap().clone()
    }

    fn known(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    pub fn promised(&self) -> usize {
        let entries = self.entries.lock().unwrap();
        entries.iter().filter(|entry| entry.is_promised).count()
    }

    pub fn revoked(&self) -> usize {
        let tokens = self.tokens.lock().unwrap();
        let is_revoked = |token: &&Token| token.state == TokenState::Revoked;
        tokens.iter().filter(is_revoked).count()
    }

    fn add(&self, entry: Entry) -> usize {
        let mut entries = self.entries.lock().unwrap();
        entries.push(entry);
        entries.len() - 1
    }

    fn entry(&self, index: usize) -> Entry {
        self.entries.lock().unwrap()[index].clone()
    }

    fn promise(&self, index: usize) {
        self.entries.lock().unwrap()[index].is_promised = true;
    }

    fn set_token(&self, number: usize, state: TokenState) {
        let mut tokens = self.tokens.lock().unwrap();
        let token = tokens.iter_mut().find(|token| token.number == number);
        token.unwrap().state = state;
    }
}

/// The clients of the servers that run at one time.
pub struct Load<'a> {
    /// Each request goes to the next one, and holds its address until it is answered.
    servers: Mutex<Vec<Arc<SocketAddr>>>,
    bearer: &'a str,
    book: &'a Book,
    /// The largest archive.
    max_bytes: usize,
    /// Set before a server is killed: from then on no answer is no fault.
    is_over: AtomicBool,
    /// Requests and pieces sent, answers received.
    steps: AtomicUsize,
}

impl<'a> Load<'a> {
    pub fn new(address: SocketAddr, bearer: &'a str, book: &'a Book, max_bytes: usize) -> Self {
        let load = Self {
            servers: Mutex::default(),
            bearer,
            book,
            max_bytes,
            is_over: AtomicBool::new(false),
            steps: AtomicUsize::new(0),
        };
        load.add(address);
        load
    }

    /// Another server takes part.
    pub fn add(&self, address: SocketAddr) {
        self.servers.lock().unwrap().push(Arc::new(address));
    }

    /// The server that has taken part for longest does not any more, and nobody waits for it.
    pub fn take_out_first(&self) {
        let first = self.servers.lock().unwrap().remove(0);
        eventually("nobody asks it any more", || Arc::strong_count(&first) == 1);
    }

    /// Lets so many clients work for as long as `meanwhile` takes. One of them keeps API tokens.
    pub fn run_during<T>(
        &self,
        clients: usize,
        dice: &mut Dice,
        meanwhile: impl FnOnce() -> T,
    ) -> T {
        thread::scope(|scope| {
            let _end = EndOnDrop(self);
            for client in 0..clients {
                let dice = dice.split();
                scope.spawn(move || self.run(dice, client == 0));
            }
            meanwhile()
        })
    }

    fn next_server(&self) -> Arc<SocketAddr> {
        let servers = self.servers.lock().unwrap();
        Arc::clone(&servers[self.steps() % servers.len()])
    }

    /// How much has happened.
    pub fn steps(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// One client. Only one may keep API tokens: what it does is known in order.
    fn run(&self, mut dice: Dice, keeps_tokens: bool) {
        while !self.is_over() {
            if keeps_tokens && dice.chance(25) {
                self.change_tokens(&mut dice);
            } else if dice.chance(75) {
                self.hand_off(&mut dice);
            } else if let known @ 1.. = self.book.known() {
                self.look_at(dice.below(known));
            }
        }
    }

    /// Creates a source, uploads its archive, and sometimes downloads it.
    fn hand_off(&self, dice: &mut Dice) {
        // An empty body is no archive.
        let most = *dice.pick(&[2_000, 100_000, self.max_bytes]);
        let sent = (1 + dice.below(most), dice.roll());
        let Some(source) = self.create() else { return };
        let entry = Entry {
            source,
            sent,
            is_promised: false,
        };
        let index = self.book.add(entry.clone());
        let (id, path) = (entry.source.id(), entry.source.upload_path());
        let (id, archive) = (format!("put.{id}"), entry.archive());
        let reply = if dice.chance(25) {
            self.send(&id, "PUT", &path, &[CHUNKED], &chunked(&archive))
        } else {
            self.ask(&id, "PUT", &path, &[], &archive)
        };
        let Some(reply) = reply else { return };
        match reply.status {
            200 => self.book.promise(index),
            410 => assert!(entry.has_expired(), "{reply:?}"),
            _ => panic!("{reply:?}"),
        }
        if dice.chance(30) {
            self.look_at(index);
        }
    }

    pub fn create(&self) -> Option<Source> {
        let reply = self.ask("create", "POST", "/v1/sources", &[self.bearer], b"")?;
        assert_eq!(reply.status, 201, "{reply:?}");
        Some(Source::of(&reply))
    }

    /// A client that asks for what is being uploaded just now, until the load is over.
    pub fn watch(&self) {
        while !self.is_over() {
            let known = self.book.known();
            for index in known.saturating_sub(4)..known {
                self.look_at(index);
            }
        }
    }

    /// Is it served? It has to be if that was promised, and whole if it is. It then stays.
    pub fn look_at(&self, index: usize) -> bool {
        let before = self.book.entry(index);
        let path = before.source.download_path();
        let id = format!("get.{}", before.source.id());
        let Some(reply) = self.ask(&id, "GET", &path, &[], b"") else {
            return false;
        };
        let entry = self.book.entry(index);
        match reply.status {
            200 => {
                let is_whole = entry.archive() == reply.body;
                assert!(is_whole, "not whole: {:?}", reply.headers);
                self.book.promise(index);
                true
            }
            404 => {
                assert!(!before.is_promised, "promised, and lost: {entry:?}");
                false
            }
            410 => {
                assert!(entry.has_expired(), "{reply:?}");
                false
            }
            _ => panic!("{reply:?}"),
        }
    }

    fn change_tokens(&self, dice: &mut Dice) {
        let tokens = self.book.tokens();
        let is_live = |token: &&Token| token.state == TokenState::Promised;
        let live: Vec<_> = tokens.iter().filter(is_live).cloned().collect();
        if live.is_empty() || (live.len() < 20 && dice.chance(50)) {
            self.make_token();
        } else {
            self.revoke_token(dice.pick(&live));
        }
    }

    fn make_token(&self) {
        // Of two that are made at once, or one that is made again after a kill, each has its own.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let body = br#"{"token":{"name":"one"}}"#;
        let id = format!("make.{number}");
        let reply = self.ask(&id, "POST", "/v1/tokens", &[self.bearer], body);
        let Some(reply) = reply else { return };
        assert_eq!(reply.status, 201, "{reply:?}");
        let token = &reply.json()["token"];
        let text = |name: &str| token[name].as_str().unwrap().to_owned();
        self.book.tokens.lock().unwrap().push(Token {
            number,
            id: text("id"),
            secret: text("token"),
            state: TokenState::Promised,
        });
    }

    fn revoke_token(&self, token: &Token) {
        let (number, path) = (token.number, format!("/v1/tokens/{}", token.id));
        self.book.set_token(number, TokenState::Unknown);
        let id = format!("revoke.{number}");
        let reply = self.ask(&id, "DELETE", &path, &[self.bearer], b"");
        let Some(reply) = reply else { return };
        assert_eq!(reply.status, 204, "{reply:?}");
        self.book.set_token(number, TokenState::Revoked);
    }

    /// Does a token open what it should, and nothing once it was revoked?
    pub fn check_token(&self, token: &Token) {
        let bearer = format!("Authorization: Bearer {}", token.secret);
        let reply = self.ask("self", "GET", "/v1/users/self", &[&bearer], b"");
        let wanted: &[u16] = match token.state {
            TokenState::Promised => &[200],
            TokenState::Unknown => &[200, 401],
            TokenState::Revoked => &[401],
        };
        let reply = reply.unwrap();
        assert!(wanted.contains(&reply.status), "{token:?}: {reply:?}");
        // What was seen holds from now on.
        let seen = match reply.status {
            200 => TokenState::Promised,
            _ => TokenState::Revoked,
        };
        self.book.set_token(token.number, seen);
    }

    /// One request. In a trace of the server's system calls, its id shows what is answered.
    fn ask(
        &self,
        id: &str,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Option<Reply> {
        let length = format!("Content-Length: {}", body.len());
        self.send(id, method, path, &[headers, &[&length]].concat(), body)
    }

    /// The body goes piece by piece. The answer, if all of it came.
    fn send(
        &self,
        id: &str,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Option<Reply> {
        let id = format!("X-Request-Id: {id}");
        let headers = [&["Connection: close", &id], headers].concat();
        let server = self.next_server();
        self.step();
        let mut connection = match Connection::try_open(*server) {
            Ok(connection) => connection,
            Err(error) => {
                assert!(self.is_over(), "nobody answers: {error}");
                return None;
            }
        };
        connection.try_send(head(method, path, &headers).as_bytes());
        for piece in body.chunks(PIECE_BYTES) {
            connection.try_send(piece);
            self.step();
        }
        let received = connection.into_rest();
        self.step();
        let reply = Reply::parse(&received).map(|(reply, _)| reply);
        assert!(
            reply.is_some() || self.is_over(),
            "cut off by a server that runs: {}",
            String::from_utf8_lossy(&received[..received.len().min(1000)])
        );
        reply
    }
}

/// Ends the load also when a test fails, which otherwise would wait for it.
struct EndOnDrop<'a>(&'a Load<'a>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
