//! The JSON of requests and answers as types, for handlers, clients and tests alike, and beside each its part of the
//! description of the API. Fields are named as the platform's documentation names them.

pub mod apps;
pub mod deployments;
pub mod events;
pub mod openapi;
pub mod pagination;
pub mod problem;
pub mod regions;
pub mod runner;
pub mod sources;
pub mod tokens;
pub mod users;
pub mod variables;
