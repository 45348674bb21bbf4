//! The real program, as its users meet it: started as a process, asked with curl and over bare
//! connections, stopped, killed, and its store looked into.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod admin;
mod clock_jumps;
mod commands;
mod curl_clients;
mod javascript_library;
mod malformed;
mod neighbours;
mod page;
mod proxy;
mod readme;
mod real_archives;
mod reference_lines;
mod scripted_runner;
mod secrets;
mod settings;
mod smuggling;
mod stop;
mod stuck_readers;
mod tls;
mod transfers;
mod uploads_in_parts;
mod web_sockets;
