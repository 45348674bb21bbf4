//! Pages of a list, as the platform counts them. Pure.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::Deserialize;

use super::problem::Problem;
use crate::wire::pagination::{Meta, Pagination};

/// How many items a page has at most, and unless another number is asked for.
const MAX_PER_PAGE: usize = 100;

/// The largest number that can be asked for: there are far fewer pages.
const MAX_NUMBER: usize = 1_000_000_000;

/// The query's parameters; strings, so that a bad number is reported like any wrong attribute.
#[derive(Debug, Default, Deserialize)]
pub struct PageQuery {
    page: Option<String>,
    per_page: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(query),
            Err(_) => Err(Problem::wrong_attribute(
                "page",
                "and per_page may be given once each",
            )),
        }
    }
}

#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub meta: Meta,
}

impl<T> Page<T> {
    /// The page of `all` that is asked for. One past the end is empty.
    pub fn of(all: Vec<T>, query: &PageQuery) -> Result<Self, Problem> {
        let current_page = number("page", query.page.as_deref(), 1)?;
        let per_page = number("per_page", query.per_page.as_deref(), MAX_PER_PAGE)?;
        let per_page = per_page.min(MAX_PER_PAGE);
        let total_count = all.len();
        let total_pages = total_count.div_ceil(per_page).max(1);
        let skipped = (current_page - 1).saturating_mul(per_page);
        Ok(Self {
            items: all.into_iter().skip(skipped).take(per_page).collect(),
            meta: Meta {
                pagination: Pagination {
                    current_page,
                    prev_page: (current_page > 1).then(|| current_page - 1),
                    next_page: (current_page < total_pages).then(|| current_page + 1),
                    total_pages,
                    total_count,
                },
            },
        })
    }
}

fn number(attribute: &'static str, text: Option<&str>, default: usize) -> Result<usize, Problem> {
    match text.map(str::parse) {
        None => Ok(default),
        Some(Ok(number)) if (1..=MAX_NUMBER).contains(&number) => Ok(number),
        Some(_) => Err(Problem::wrong_attribute(
            attribute,
            format!("must be a number from 1 to {MAX_NUMBER}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(count: usize, page: &str, per_page: &str) -> Page<usize> {
        let query = PageQuery {
            page: Some(page.to_owned()),
            per_page: Some(per_page.to_owned()),
        };
        Page::of((0..count).collect(), &query).unwrap()
    }

    #[test]
    fn the_largest_number_asks_for_an_empty_page_past_the_end_and_a_larger_one_for_nothing() {
        let number = MAX_NUMBER.to_string();
        let past = page(5, &number, &number);
        assert!(past.items.is_empty());
        assert_eq!(past.meta.pagination.prev_page, Some(MAX_NUMBER - 1));
        assert_eq!(past.meta.pagination.next_page, None);
        for page in ["1000000001", "61328137720115635068862464", "0", "-1", "one"] {
            let query = PageQuery {
                page: Some(page.to_owned()),
                per_page: None,
            };
            assert!(Page::of(vec![0], &query).is_err(), "{page}");
        }
    }

    #[test]
    fn pages_have_neighbours_but_at_the_ends_and_at_most_a_hundred_items() {
        for (count, asked, items, neighbours, total_pages) in [
            (5, ("1", "2"), 0..2, (None, Some(2)), 3),
            (5, ("3", "2"), 4..5, (Some(2), None), 3),
            (5, ("99", "2"), 0..0, (Some(98), None), 3),
            (0, ("1", "2"), 0..0, (None, None), 1),
            (101, ("1", "101"), 0..100, (None, Some(2)), 2),
        ] {
            let found = page(count, asked.0, asked.1);
            assert!(found.items.into_iter().eq(items), "{asked:?} of {count}");
            let told = found.meta.pagination;
            assert_eq!((told.prev_page, told.next_page), neighbours);
            assert_eq!((told.total_pages, told.total_count), (total_pages, count));
        }
    }
}
