//! The resource `user`.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// `{"user":{…}}`: the answer to `GET /v1/users/self`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserAnswer {
    pub user: User,
}

/// A user, with the attributes that the platform's clients read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// `us-` and a UUID.
    pub id: String,
    /// The id again, as the platform has it.
    pub uuid: String,
    pub username: String,
    /// The e-mail address; may be empty.
    pub email: String,
    /// The name again: there is no other.
    pub fullname: String,
    pub created_at: Timestamp,
    /// Always empty.
    pub flags: Flags,
}

/// An object without attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {}

/// A user as named beside what is theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReference {
    pub id: String,
    pub username: String,
    pub email: String,
}
