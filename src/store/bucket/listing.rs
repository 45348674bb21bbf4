//! Listing keys, also beside those that nothing of ours could be called.
//!
//! The library has no name for a key with an empty part (`a//b`), a part `..` or a control character, and
//! refuses each page of a list that has one. Whoever shares the bucket may put one there by mistake, and
//! from then on nothing would be deleted. So what was refused is asked for again, in smaller and smaller
//! pages, until the key that spoils them stands alone; and the list goes on behind it.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::{self, DELIMITER, Path};
use object_store::{Error, ObjectMeta, Result};

use super::Shared;

/// How many keys are asked for at once: what engines give at most.
const PAGE_KEYS: usize = 1000;

/// What a list shows.
#[derive(Debug)]
pub(super) enum Listed {
    Object(ObjectMeta),
    /// A key that the library has no name for: it can be told, and nothing else can be done with it.
    Unnameable(String),
}

/// Everything below `folder`, in the order of the keys.
pub(super) fn list(shared: &Shared, folder: &Path) -> BoxStream<'static, Result<Listed>> {
    if let Some(pages) = &shared.engine.pages {
        return list_pages(Arc::clone(pages), folder);
    }
    let listed = shared.objects().list(Some(folder));
    listed.map_ok(Listed::Object).boxed()
}

fn list_pages(
    engine: Arc<dyn PaginatedListStore>,
    folder: &Path,
) -> BoxStream<'static, Result<Listed>> {
    let pages = Pages {
        engine,
        prefix: format!("{folder}{DELIMITER}"),
        passed: None,
        token: None,
        keys: PAGE_KEYS,
        is_over: false,
    };
    stream::try_unfold(pages, Pages::next)
        .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
}

/// The pages of a list that are still to come.
struct Pages {
    engine: Arc<dyn PaginatedListStore>,
    prefix: String,
    /// The last key that was passed over.
    passed: Option<String>,
    /// Where the next page begins, if not there.
    token: Option<String>,
    /// How many keys it shall have.
    keys: usize,
    is_over: bool,
}

impl Pages {
    async fn next(mut self) -> Result<Option<(Vec<Listed>, Self)>> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            let error = match self.ask().await {
                Ok(page) => return Ok(Some((page, self))),
                Err(error) => error,
            };
            match unnameable(&error) {
                Some(_) if self.keys > 1 => self.keys /= 2,
                Some(key) if self.passed.as_deref() < Some(key) => {
                    self.passed = Some(key.to_owned());
                    self.token = None;
                    self.keys = PAGE_KEYS;
                    return Ok(Some((vec![Listed::Unnameable(key.to_owned())], self)));
                }
                // The engine failed, or does not go on where it is told to.
                _ => return Err(error),
            }
        }
    }

    async fn ask(&mut self) -> Result<Vec<Listed>> {
        let options = PaginatedListOptions {
            offset: self.passed.clone(),
            page_token: self.token.clone(),
            max_keys: Some(self.keys),
            ..PaginatedListOptions::default()
        };
        let page = self
            .engine
            .list_paginated(Some(&self.prefix), options)
            .await?;
        self.token = page.page_token.filter(|token| !token.is_empty());
        self.is_over = self.token.is_none();
        let objects = page.result.objects.into_iter();
        Ok(objects.map(Listed::Object).collect())
    }
}

/// The first key of a page that the library has no name for, if that is why it was refused.
fn unnameable(error: &Error) -> Option<&str> {
    if let Error::InvalidPath {
        source: path::Error::EmptySegment { path } | path::Error::BadSegment { path, .. },
    } = error
    {
        return Some(path);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures_util::FutureExt;
    use object_store::ListResult;
    use object_store::list::PaginatedListResult;

    use super::*;

    /// An engine that has keys, whatever they are called, and what it was asked.
    #[derive(Default)]
    struct Engine {
        keys: BTreeSet<String>,
        requests: AtomicUsize,
        /// It begins each list at the beginning.
        is_deaf: bool,
    }

    #[async_trait]
    impl PaginatedListStore for Engine {
        async fn list_paginated(
            &self,
            prefix: Option<&str>,
            options: PaginatedListOptions,
        ) -> Result<PaginatedListResult> {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let after = options.page_token.or(options.offset);
            let after = after.filter(|_| !self.is_deaf).unwrap_or_default();
            let behind = (Bound::Excluded(after), Bound::Unbounded);
            let keys = self.keys.range::<String, _>(behind);
            let keys = keys.filter(|key| key.starts_with(prefix.unwrap()));
            let page: Vec<_> = keys.take(options.max_keys.unwrap()).collect();
            let meta = |key: &&String| {
                Ok(ObjectMeta {
                    location: Path::parse(key.as_str())?,
                    last_modified: std::time::UNIX_EPOCH.into(),
                    size: 0,
                    e_tag: None,
                    version: None,
                })
            };
            Ok(PaginatedListResult {
                result: ListResult {
                    common_prefixes: Vec::new(),
                    objects: page.iter().map(meta).collect::<Result<_>>()?,
                    extensions: http::Extensions::new(),
                },
                page_token: page.last().map(|key| (*key).clone()),
            })
        }
    }

    fn listed_by(engine: &Arc<Engine>) -> Result<Vec<String>> {
        let listed = list_pages(Arc::clone(engine) as _, &Path::from("p"));
        let told = listed.map_ok(|listed| match listed {
            Listed::Object(meta) => meta.location.to_string(),
            Listed::Unnameable(key) => format!("passed over: {key}"),
        });
        told.try_collect().now_or_never().unwrap()
    }

    /// As many keys as fill some pages, and others.
    fn engine_with(others: &[&str]) -> Arc<Engine> {
        let keys = (0..2500).map(|number| format!("p/{number:04}/record"));
        let others = others.iter().map(|key| (*key).to_owned());
        Arc::new(Engine {
            keys: keys.chain(others).collect(),
            ..Engine::default()
        })
    }

    #[test]
    fn keys_without_a_name_hide_no_others_wherever_they_are() {
        let unnameable = [
            "p//first",
            "p/0999/../x",
            "p/1200/a\u{7f}",
            "p/1200//a",
            "p/2300/record/./",
            "p/zz//last",
        ];
        let engine = engine_with(&unnameable);
        let listed = listed_by(&engine).unwrap();
        let told = |key: &String| {
            let is_unnameable = unnameable.contains(&key.as_str());
            let mark = if is_unnameable { "passed over: " } else { "" };
            format!("{mark}{key}")
        };
        assert!(listed.into_iter().eq(engine.keys.iter().map(told)));
        // Not one for each key beside them.
        assert!(engine.requests.load(Ordering::Relaxed) < unnameable.len() * 30);
    }

    #[test]
    fn a_list_of_keys_with_names_takes_a_request_a_page() {
        let engine = engine_with(&["q//foreign"]);
        assert_eq!(listed_by(&engine).unwrap().len(), 2500);
        assert_eq!(engine.requests.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn an_engine_that_does_not_go_on_is_not_asked_for_ever() {
        let engine = Arc::new(Engine {
            keys: BTreeSet::from(["p//a".to_owned()]),
            is_deaf: true,
            ..Engine::default()
        });
        assert!(listed_by(&engine).is_err());
    }
}
