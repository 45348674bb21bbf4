//! What accounts promise, on a store in a folder.

use super::*;
use crate::store::FolderStore;
use crate::store::folder::Sync;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn accounts() -> (tempfile::TempDir, Accounts) {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path().to_owned(), Sync::Off, 0).unwrap();
    (folder, Accounts::new(Store::Folder(store)))
}

#[tokio::test]
async fn the_first_start_makes_a_user_and_a_token_and_the_second_nothing() {
    let (_folder, accounts) = accounts();
    accounts.make_first(NOW).await.unwrap().unwrap();
    assert!(accounts.make_first(NOW).await.unwrap().is_none());
    assert_eq!(accounts.list_users().await.unwrap()[0].name, "admin");
}

#[tokio::test]
async fn only_the_right_secret_is_let_in_until_it_is_revoked() {
    let (_folder, accounts) = accounts();
    let secret = accounts.make_first(NOW).await.unwrap().unwrap();
    let token = accounts.verify_token(secret.reveal(), NOW).await.unwrap();

    let mut changed = secret.reveal().to_owned();
    let last = if changed.ends_with('A') { "E" } else { "A" };
    changed.replace_range(changed.len() - 1.., last);
    let refused = accounts.verify_token(&changed, NOW).await.unwrap_err();
    assert!(matches!(refused, ApiTokenError::Unknown));

    accounts.revoke_token(token.id).await.unwrap();
    let refused = accounts.verify_token(secret.reveal(), NOW).await;
    assert!(matches!(refused, Err(ApiTokenError::Unknown)));
    let refused = accounts.revoke_token(token.id).await.unwrap_err();
    assert!(matches!(refused, AccountError::UnknownTokenId { .. }));
}

#[tokio::test]
async fn the_store_holds_no_secret() {
    let (folder, accounts) = accounts();
    let secret = accounts.make_first(NOW).await.unwrap().unwrap();
    let encoded = secret.reveal().strip_prefix("tk-us-").unwrap();
    let half = &encoded[16..]; // the first 16 characters are the id
    for entry in std::fs::read_dir(folder.path().join("tokens")).unwrap() {
        let record = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!record.contains(half));
    }
}

#[tokio::test]
async fn a_user_exists_once() {
    let (_folder, accounts) = accounts();
    let ada = accounts.add_user("ada", "ada@example.com", NOW).await;
    let ada = ada.unwrap();
    let refused = accounts.add_user("ada", "", NOW).await.unwrap_err();
    assert!(matches!(refused, AccountError::UserExists { .. }));
    let refused = accounts.find_user("bob").await.unwrap_err();
    assert!(refused.to_string().contains("bob"));
    assert_eq!(accounts.find_user("ada").await.unwrap(), ada);
    assert_eq!(accounts.user(ada.id).await.unwrap(), ada);
}

#[tokio::test]
async fn a_use_is_kept_to_the_minute() {
    let (_folder, accounts) = accounts();
    let secret = accounts.make_first(NOW).await.unwrap().unwrap();
    let admin = UserId::of(FIRST_USER);
    let last_used = async || {
        let listed = accounts.list_tokens_of(admin).await.unwrap();
        listed[0].last_used_at
    };
    assert_eq!(last_used().await, None);
    for (later_ms, kept_ms) in [(0, 0), (59_999, 0), (60_000, 60_000), (60_001, 60_000)] {
        let now = NOW.after(Duration::from_millis(later_ms));
        accounts.verify_token(secret.reveal(), now).await.unwrap();
        let kept = NOW.after(Duration::from_millis(kept_ms));
        assert_eq!(last_used().await, Some(kept), "{later_ms}");
    }
}

#[tokio::test]
async fn a_users_tokens_are_their_own() {
    let (_folder, accounts) = accounts();
    let ada = accounts.add_user("ada", "", NOW).await.unwrap().id;
    let bob = accounts.add_user("bob", "", NOW).await.unwrap().id;
    let (token, old) = accounts.create_token("ci", ada, NOW).await.unwrap();
    assert_eq!(accounts.list_tokens_of(bob).await.unwrap(), []);
    let refused = accounts.renew_token_of(bob, token.id).await;
    assert!(matches!(refused, Err(AccountError::UnknownTokenId { .. })));
    let refused = accounts.revoke_token_of(bob, token.id).await;
    assert!(matches!(refused, Err(AccountError::UnknownTokenId { .. })));

    let (_, new) = accounts.renew_token_of(ada, token.id).await.unwrap();
    assert!(accounts.verify_token(old.reveal(), NOW).await.is_err());
    assert!(accounts.verify_token(new.reveal(), NOW).await.is_ok());
    accounts.revoke_token_of(ada, token.id).await.unwrap();
    assert!(accounts.renew_token_of(ada, token.id).await.is_err());
}

#[tokio::test]
async fn names_have_an_end() {
    let (_folder, accounts) = accounts();
    for (bytes, is_good) in [(0, false), (1, true), (255, true), (256, false)] {
        let added = accounts.add_user(&"a".repeat(bytes), "", NOW).await;
        assert_eq!(added.is_ok(), is_good, "{bytes}");
    }
    assert!(accounts.add_user("a\nb", "", NOW).await.is_err());
}

#[tokio::test]
async fn e_mail_addresses_have_an_end() {
    let (_folder, accounts) = accounts();
    for (bytes, is_good) in [(0, true), (254, true), (255, false)] {
        // What is written as two.
        let email = "\"".repeat(bytes);
        let added = accounts.add_user(&bytes.to_string(), &email, NOW).await;
        assert_eq!(added.is_ok(), is_good, "{bytes}");
    }
    assert!(accounts.add_user("ada", "a\nb", NOW).await.is_err());
    assert_eq!(accounts.list_users().await.unwrap().len(), 2);
}
