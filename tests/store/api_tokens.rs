//! Users and API tokens where several servers, or requests, meet on one store.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::{join, join_all};
use object_store::ObjectStoreExt;
use tokio::task::yield_now;
use waystation::secret::Secret;
use waystation::service::api_tokens::{ApiToken, ApiTokenError, ApiTokens, TokenId, VerifyError};
use waystation::service::first_start::make_first_token;
use waystation::service::users::{FIRST_USER, UserId, Users};
use waystation::store::Store;

use crate::documents::on_double;
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::EXPIRY;

fn ada() -> UserId {
    UserId::of("ada")
}

/// An object store that takes a second for each write.
fn slow_bucket() -> (Arc<ObjectStoreDouble>, Store) {
    on_double(ObjectStoreDouble {
        put_takes: Duration::from_secs(1),
        ..ObjectStoreDouble::default()
    })
}

/// The API tokens in one.
fn slow_tokens() -> (Arc<ObjectStoreDouble>, ApiTokens) {
    let (objects, store) = slow_bucket();
    (objects, ApiTokens::new(store))
}

/// Returns when all writes that are under way have ended.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

type Renewal = Result<(ApiToken, Secret), ApiTokenError>;

/// One succeeds, and the other learns of it. The secret is that of the one that succeeds.
fn only_secret(renewals: (Renewal, Renewal)) -> Secret {
    match renewals {
        (Ok((_, secret)), Err(ApiTokenError::RenewedMeanwhile { .. }))
        | (Err(ApiTokenError::RenewedMeanwhile { .. }), Ok((_, secret))) => secret,
        other => panic!("{other:?}"),
    }
}

async fn assert_right(tokens: &ApiTokens, secrets: &[Secret]) {
    for secret in secrets {
        tokens.verify(secret.reveal(), EXPIRY).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_renewals_at_once_in_a_bucket_one_succeeds() {
    let (_, tokens) = slow_tokens();
    let mut secrets = Vec::new();
    for _ in 0..30 {
        let id = tokens.create("ci", ada(), EXPIRY).await.unwrap().0.id;
        let renewals = join(tokens.renew(ada(), id), tokens.renew(ada(), id)).await;
        secrets.push(only_secret(renewals));
    }
    assert_right(&tokens, &secrets).await;
}

#[tokio::test]
async fn of_two_renewals_at_once_in_a_folder_one_succeeds() {
    let (folder, store) = crate::folder::new_store();
    let root = folder.path().join("store");
    let tokens = ApiTokens::new(store);
    let mut secrets = Vec::new();
    let drafts = || std::fs::read_dir(root.join("drafts")).unwrap().count();
    for _ in 0..30 {
        let id = tokens.create("ci", ada(), EXPIRY).await.unwrap().0.id;
        // Both have read the token, and are about to replace it.
        let lock = lock_documents(&root);
        let release = async {
            until(|| drafts() == 2).await;
            drop(lock);
        };
        let renewals = join(tokens.renew(ada(), id), tokens.renew(ada(), id));
        let (renewals, ()) = join(renewals, release).await;
        secrets.push(only_secret(renewals));
    }
    assert_right(&tokens, &secrets).await;
}

fn lock_documents(root: &Path) -> File {
    let mut options = File::options();
    let lock = options.create(true).append(true);
    let lock = lock.open(root.join("documents.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

#[tokio::test(start_paused = true)]
async fn a_use_that_is_noted_meanwhile_keeps_no_renewal_from_succeeding() {
    let (objects, tokens) = slow_tokens();
    let (token, secret) = tokens.create("ci", ada(), EXPIRY).await.unwrap();
    objects.puts.store(0, Relaxed);
    tokens.verify(secret.reveal(), EXPIRY).await.unwrap();
    until(|| objects.puts.load(Relaxed) == 1).await;
    // The renewal reads the token before the use is written, and writes it after that.
    tokio::time::advance(Duration::from_millis(500)).await;
    let (renewed, _) = tokens.renew(ada(), token.id).await.unwrap();
    assert_eq!(renewed.last_used_at, Some(EXPIRY));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_while_its_use_is_noted_stays_revoked() {
    let (objects, tokens) = slow_tokens();
    let (token, secret) = tokens.create("ci", ada(), EXPIRY).await.unwrap();
    objects.puts.store(0, Relaxed);
    tokens.verify(secret.reveal(), EXPIRY).await.unwrap();
    until(|| objects.puts.load(Relaxed) == 1).await;
    tokens.revoke(token.id).await.unwrap();
    settle().await;
    let refused = tokens.verify(secret.reveal(), EXPIRY).await;
    assert!(matches!(refused, Err(VerifyError::Unknown)));
    assert_eq!(tokens.list(ada()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_use_that_could_not_be_noted_is_noted_the_next_time() {
    let (objects, tokens) = slow_tokens();
    let (token, secret) = tokens.create("ci", ada(), EXPIRY).await.unwrap();
    for (puts_fail, last_used_at) in [(true, None), (false, Some(EXPIRY))] {
        objects.puts_fail.store(puts_fail, Relaxed);
        tokens.verify(secret.reveal(), EXPIRY).await.unwrap();
        settle().await;
        let token = tokens.find(ada(), token.id).await.unwrap();
        assert_eq!(token.unwrap().last_used_at, last_used_at);
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_uses_at_once_one_is_written() {
    let (objects, tokens) = slow_tokens();
    let (_, secret) = tokens.create("ci", ada(), EXPIRY).await.unwrap();
    objects.puts.store(0, Relaxed);
    let uses = (0..100).map(|_| tokens.verify(secret.reveal(), EXPIRY));
    assert!(join_all(uses).await.iter().all(Result::is_ok));
    settle().await;
    assert_eq!(objects.puts.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_first_starts_at_once_one_makes_a_token() {
    let (_, store) = slow_bucket();
    let starts = (0..8).map(|_| {
        let store = store.clone();
        async move { first_start(&store).await }
    });
    let made: Vec<_> = join_all(starts).await.into_iter().flatten().collect();
    let [secret] = made.as_slice() else {
        panic!("{made:?}");
    };
    let tokens = ApiTokens::new(store);
    let token = tokens.verify(secret.reveal(), EXPIRY).await.unwrap();
    let listed = tokens.list(UserId::of(FIRST_USER)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, token.id);
}

async fn first_start(store: &Store) -> Option<Secret> {
    let (users, tokens) = (Users::new(store.clone()), ApiTokens::new(store.clone()));
    let made = make_first_token(&users, &tokens, EXPIRY).await.unwrap();
    made.map(|(_token, secret)| secret)
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_made_good_and_no_later_one_makes_a_token() {
    let (_, store) = on_double(ObjectStoreDouble::default());
    let tokens = ApiTokens::new(store.clone());
    // It had made a token, and was cut short before it added the user.
    let admin = UserId::of(FIRST_USER);
    tokens.create("first start", admin, EXPIRY).await.unwrap();
    let secret = first_start(&store).await.unwrap();
    let token = tokens.verify(secret.reveal(), EXPIRY).await.unwrap();
    assert!(first_start(&store).await.is_none());
    tokens.revoke(token.id).await.unwrap();
    assert!(first_start(&store).await.is_none());
}

#[tokio::test]
async fn a_users_tokens_are_listed_without_those_of_others() {
    let (objects, store) = on_double(ObjectStoreDouble::default());
    let tokens = ApiTokens::new(store);
    for number in 0..20_000 {
        let key = format!("p/tokens/{:08x}/{number:024x}.json", number / 100);
        objects.inner.put(&key.into(), "{}".into()).await.unwrap();
    }
    let mut own: Vec<TokenId> = Vec::new();
    for _ in 0..3 {
        own.push(tokens.create("ci", ada(), EXPIRY).await.unwrap().0.id);
    }
    objects.lists.store(0, Relaxed);
    objects.gets.store(0, Relaxed);
    let listed = tokens.list(ada()).await.unwrap();
    assert!(listed.iter().all(|token| own.contains(&token.id)));
    assert_eq!(listed.len(), own.len());
    assert_eq!(objects.lists.load(Relaxed), 1);
    assert_eq!(objects.gets.load(Relaxed), 3);
}
