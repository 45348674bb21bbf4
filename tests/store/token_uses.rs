//! What is kept of the use of an API token.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::yield_now;
use waystation::service::accounts::Accounts;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, RecordKind, Store};

use crate::bucket::shortly_before_expiry;
use crate::engine_double::EngineDouble;
use crate::suite::EXPIRY;

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_while_its_use_is_written_leaves_none() {
    let engine = Arc::new(EngineDouble {
        put_takes: Duration::from_secs(1),
        ..EngineDouble::default()
    });
    let clock = shortly_before_expiry();
    let bucket = BucketStore::within(engine.clone(), "p", Overwrite::Refuse, clock);
    let store = Store::Bucket(bucket);
    let accounts = Accounts::new(store.clone());
    let secret = accounts.make_first(EXPIRY).await.unwrap().unwrap();
    let token = accounts.list_tokens().await.unwrap().remove(0);

    engine.puts.store(0, Relaxed);
    let revoke = async {
        while engine.puts.load(Relaxed) == 0 {
            yield_now().await;
        }
        accounts.revoke_token(token.id).await.unwrap();
    };
    let (verified, ()) = tokio::join!(accounts.verify_token(secret.reveal(), EXPIRY), revoke);
    assert_eq!(verified.unwrap(), token);
    let uses = store.list_records(RecordKind::TokenUses).await.unwrap();
    assert_eq!(uses, []);
}
