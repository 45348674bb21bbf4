//! Applications, and what calls that were cut short, or came at once, leave of their names.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn apps() -> (tempfile::TempDir, Apps) {
    let (folder, store) = Store::temporary();
    (folder, Apps::new(store))
}

fn ada() -> UserId {
    UserId::of("ada")
}

fn is_taken(result: &Result<App, AppError>) -> bool {
    matches!(result, Err(AppError::NameTaken { .. }))
}

/// Who has a name has it alone, and can be found by it.
async fn assert_whole(apps: &Apps, owners: &[UserId]) {
    let mut names = std::collections::BTreeSet::new();
    for owner in owners {
        for app in apps.list(*owner).await.unwrap() {
            assert!(names.insert(app.name.clone()), "{} twice", app.name);
            assert_eq!(apps.find(*owner, &app.name).await.unwrap(), app);
        }
    }
}

#[test]
fn names_have_a_shape() {
    let long = "a".repeat(48);
    for name in ["abcdef", "a-b-c-1", "123456", &long] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    let longer = "a".repeat(49);
    for name in [
        "", "abcde", &longer, "-abcdef", "abcdef-", "abc--def", "Abcdef", "abc_def", "abc.def",
        "abc/def", "äbcdef", "abcdef\n",
    ] {
        assert!(check_name(name).is_err(), "{name}");
    }
}

/// A name may look like an id.
#[tokio::test]
async fn a_name_that_is_another_apps_id_hides_no_app() {
    let (_folder, apps) = apps();
    let first = apps.create(ada(), "my-shop", NOW).await.unwrap();
    let name = first.id.to_string();
    let bobs = apps.create(UserId::of("bob"), &name, NOW).await.unwrap();
    assert_eq!(apps.find(ada(), &name).await.unwrap(), first);
    assert_eq!(bobs.name, name);
    let other = apps.create(ada(), "0123456789abcdef0123456789abcdef", NOW);
    let other = other.await.unwrap();
    assert_eq!(apps.find(ada(), &other.name).await.unwrap(), other);
}

#[tokio::test]
async fn a_name_is_of_one_app_alone_whoever_has_it_and_free_again_after_it() {
    let (_folder, apps) = apps();
    let bob = UserId::of("bob");
    let app = apps.create(ada(), "my-shop", NOW).await.unwrap();
    assert!(is_taken(&apps.create(bob, "my-shop", NOW).await));
    assert!(is_taken(&apps.rehearse(bob, "my-shop", NOW).await));
    let renamed = apps.rename(&app, "my-shop", "my-store", NOW).await.unwrap();
    assert_eq!(renamed.id, app.id);
    let bobs = apps.create(bob, "my-shop", NOW).await.unwrap();
    assert!(is_taken(
        &apps.rename(&bobs, "my-shop", "my-store", NOW).await
    ));
    apps.delete(&renamed).await.unwrap();
    assert!(apps.find(ada(), "my-store").await.is_err());
    apps.rename(&bobs, "my-shop", "my-store", NOW)
        .await
        .unwrap();
    apps.create(ada(), "my-shop", NOW).await.unwrap();
    assert_whole(&apps, &[ada(), bob]).await;
}

#[tokio::test]
async fn of_many_who_want_one_name_at_once_one_has_it() {
    let (_folder, apps) = apps();
    let owners: Vec<_> = (0..8).map(|n| UserId::of(&n.to_string())).collect();
    let stores = owners.iter().map(|owner| async {
        // Each a server of its own: no lock in memory keeps them apart.
        Apps::new(apps.store.clone())
            .create(*owner, "my-shop", NOW)
            .await
    });
    let made = join_all(stores).await;
    let done = made.iter().filter(|made| made.is_ok()).count();
    let retry = |made: &Result<App, AppError>| {
        is_taken(made) || matches!(made, Err(AppError::Store(StoreError::Contended)))
    };
    assert_eq!(done, 1, "{made:?}");
    assert!(
        made.iter().all(|made| made.is_ok() || retry(made)),
        "{made:?}"
    );
    assert_whole(&apps, &owners).await;
}

#[tokio::test]
async fn a_creation_that_was_cut_short_keeps_no_name_and_does_not_come_back() {
    let (_folder, apps) = apps();
    let lost = Apps::draft(ada(), "my-shop", NOW);
    apps.take_name("my-shop", lost.claim).await.unwrap();
    assert!(apps.find(ada(), "my-shop").await.is_err());
    let bob = UserId::of("bob");
    let bobs = apps.create(bob, "my-shop", NOW).await.unwrap();
    // It was only slow, and now writes.
    let (key, record) = (lost.id.key(), Record::App(lost.clone()));
    let write = apps.store.write_document(&key, &record, Expected::Absent);
    assert_eq!(write.await.unwrap(), Written::Conflict);
    assert_eq!(apps.get(lost.id).await.unwrap(), None);
    assert!(apps.list(ada()).await.unwrap().is_empty());
    assert_eq!(apps.find(bob, "my-shop").await.unwrap(), bobs);
}

#[tokio::test]
async fn a_renaming_that_was_cut_short_keeps_no_name_and_does_not_come_back() {
    let (_folder, apps) = apps();
    let app = apps.create(ada(), "my-shop", NOW).await.unwrap();
    let read = apps.read(app.id).await.unwrap().unwrap();
    let claim = NameClaim::new(app.id);
    apps.take_name("my-store", claim).await.unwrap();
    let bob = UserId::of("bob");
    apps.create(bob, "my-store", NOW).await.unwrap();
    // It was only slow, and now writes.
    let record = Record::App(App {
        name: "my-store".to_owned(),
        claim,
        ..app.clone()
    });
    let (key, expected) = (app.id.key(), Expected::Version(read.version));
    let write = apps.store.write_document(&key, &record, expected);
    assert_eq!(write.await.unwrap(), Written::Conflict);
    assert_whole(&apps, &[ada(), bob]).await;
}

#[tokio::test]
async fn a_name_that_was_not_given_back_is_taken_by_who_wants_it() {
    let (_folder, apps) = apps();
    let app = apps.create(ada(), "my-shop", NOW).await.unwrap();
    apps.store.delete_document(&app.id.key()).await.unwrap();
    assert!(apps.find(ada(), "my-shop").await.is_err());
    apps.create(UserId::of("bob"), "my-shop", NOW)
        .await
        .unwrap();
}

/// The first of two who rename is slow to give the old name back.
#[tokio::test]
async fn a_name_that_was_taken_anew_is_not_given_back() {
    let (_folder, apps) = apps();
    let app = apps.create(ada(), "my-shop", NOW).await.unwrap();
    let renamed = apps.rename(&app, "my-shop", "my-store", NOW).await.unwrap();
    let back = apps
        .rename(&renamed, "my-store", "my-shop", NOW)
        .await
        .unwrap();
    apps.give_back("my-shop", app.claim).await;
    assert_eq!(apps.find(ada(), "my-shop").await.unwrap(), back);
    assert!(is_taken(&apps.create(ada(), "my-shop", NOW).await));
}

#[tokio::test]
async fn a_renaming_says_which_app_it_means() {
    let (_folder, apps) = apps();
    let app = apps.create(ada(), "my-shop", NOW).await.unwrap();
    let other = apps.rename(&app, "my-stop", "my-store", NOW).await;
    assert!(matches!(other, Err(AppError::OtherName { .. })));
    let bad = apps.rename(&app, "my-shop", "x", NOW).await;
    assert!(matches!(bad, Err(AppError::BadName)));
    let same = apps.rename(&app, "my-shop", "my-shop", NOW).await.unwrap();
    assert_eq!(same, app);
    apps.delete(&app).await.unwrap();
    let gone = apps.rename(&app, "my-shop", "my-store", NOW).await;
    assert!(matches!(gone, Err(AppError::Unknown { .. })));
}

#[tokio::test]
async fn a_user_has_as_many_apps_as_the_limit_and_no_more() {
    let (_folder, apps) = apps();
    for number in 0..MAX_APPS {
        let app = Apps::draft(ada(), &format!("number-{number}"), NOW);
        let (key, record) = (app.id.key(), Record::App(app));
        let write = apps.store.write_document(&key, &record, Expected::Absent);
        assert_eq!(write.await.unwrap(), Written::Done);
        if number == MAX_APPS - 2 {
            apps.rehearse(ada(), "one-more", NOW).await.unwrap();
        }
    }
    let more = apps.create(ada(), "one-more", NOW).await;
    assert!(matches!(more, Err(AppError::TooMany)));
    let more = apps.rehearse(ada(), "one-more", NOW).await;
    assert!(matches!(more, Err(AppError::TooMany)));
    apps.create(UserId::of("bob"), "one-more", NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_end_that_is_noted_late_does_not_hide_a_later_one() {
    let (_folder, apps) = apps();
    let app = apps.create(ada(), "my-shop", NOW).await.unwrap();
    let end = |number: u64, after_secs, has_succeeded| LastDeployment {
        id: number.to_string(),
        number,
        ended_at: NOW.after(Duration::from_secs(after_secs)),
        by: "ada".to_owned(),
        has_succeeded,
    };
    apps.note_end(app.id, end(2, 2, false)).await.unwrap();
    apps.note_end(app.id, end(1, 1, true)).await.unwrap();
    let noted = apps.get(app.id).await.unwrap().unwrap();
    assert_eq!(noted.last_deployment, Some(end(2, 2, false)));
    assert!(noted.is_running, "the first has succeeded all the same");
    apps.delete(&app).await.unwrap();
    apps.note_end(app.id, end(4, 4, true)).await.unwrap();
    assert_eq!(apps.get(app.id).await.unwrap(), None);
}
