//! The use cases, free of HTTP: sources, users, API tokens, bearers.

pub mod account;
pub mod accounts;
pub mod jwt;
pub mod sources;
