//! How often a store is asked about API tokens, when many guesses are judged by what it says.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use waystation::service::accounts::Accounts;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store};

use crate::bucket::shortly_before_expiry;
use crate::engine_double::EngineDouble;
use crate::suite::EXPIRY;

const GUESSES: usize = 200;
/// Longer than a list is good for.
const LIST_TAKES: Duration = Duration::from_secs(3);

/// Accounts with one API token, on an engine that is slow to list.
async fn accounts() -> (Accounts, String, Arc<EngineDouble>) {
    let engine = Arc::new(EngineDouble {
        list_takes: LIST_TAKES,
        ..EngineDouble::default()
    });
    let clock = shortly_before_expiry();
    let bucket = BucketStore::within(engine.clone(), "p", Overwrite::Refuse, clock);
    let accounts = Accounts::new(Store::Bucket(bucket));
    let token = accounts.make_first(EXPIRY).await.unwrap().unwrap();
    engine.lists.store(0, Relaxed);
    engine.gets.store(0, Relaxed);
    (accounts, token.reveal().to_owned(), engine)
}

fn guess() -> String {
    format!("tk-us-{}", "A".repeat(48))
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_share_one_list_however_long_it_takes() {
    let (accounts, token, engine) = accounts().await;
    let begun_at = Instant::now();
    let guess = guess();
    let guesses = join_all((0..GUESSES).map(|_| accounts.is_known(&guess)));
    let (guesses, token) = tokio::join!(guesses, accounts.is_known(&token));
    assert!(guesses.into_iter().all(|listed| !listed.unwrap()));
    assert!(token.unwrap());
    // Whoever came while the first was read is answered by the second.
    assert!(begun_at.elapsed() <= 2 * LIST_TAKES);
    assert!(engine.lists.load(Relaxed) <= 2);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_the_list_to_the_next() {
    let (accounts, token, engine) = accounts().await;
    let guess = guess();
    for _ in 0..GUESSES {
        let pause = Duration::from_millis(2);
        assert!(timeout(pause, accounts.is_known(&guess)).await.is_err());
    }
    assert!(accounts.is_known(&token).await.unwrap());
    assert!(engine.lists.load(Relaxed) <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_is_not_asked_for_by_each() {
    let (accounts, token, engine) = accounts().await;
    engine.list_fails.store(true, Relaxed);
    let asked = join_all((0..GUESSES).map(|_| accounts.is_known(&token))).await;
    let failed = asked.iter().filter(|listed| listed.is_err()).count();
    assert!((1..=2).contains(&failed), "{failed}");
    assert!(asked.into_iter().flatten().all(|listed| !listed));
    assert!(engine.lists.load(Relaxed) <= 2);

    engine.list_fails.store(false, Relaxed);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(accounts.is_known(&token).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn guesses_at_the_secret_of_a_token_share_one_look_at_it() {
    let (accounts, token, engine) = accounts().await;
    // Its id is no secret: its owner's list shows it.
    let guess = |number| format!("{}{number:A>32}", &token[..token.len() - 32]);
    let guesses = (0..GUESSES).map(guess);
    let guesses: Vec<_> = guesses.collect();
    let known = join_all(guesses.iter().map(|guess| accounts.is_known(guess))).await;
    assert!(known.into_iter().all(|known| !known.unwrap()));
    assert!(engine.gets.load(Relaxed) <= 2);
    assert!(accounts.is_known(&token).await.unwrap());

    // A new secret is known within a second, as a new token is.
    let listed = accounts.list_tokens().await.unwrap().remove(0);
    let renewed = accounts.renew_token_of(listed.user, listed.id);
    let (_, secret) = renewed.await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(accounts.is_known(secret.reveal()).await.unwrap());
    assert!(!accounts.is_known(&token).await.unwrap());
}
