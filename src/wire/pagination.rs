//! `meta.pagination` of a list.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub pagination: Pagination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pagination {
    /// The number of this page, from 1.
    pub current_page: usize,
    /// The one before; none on the first.
    pub prev_page: Option<usize>,
    /// The one after; none on the last.
    pub next_page: Option<usize>,
    /// How many pages there are, at least one.
    pub total_pages: usize,
    pub total_count: usize,
}
