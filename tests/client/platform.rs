//! The platform itself, as its documentation says it: tokens are exchanged at another host than that of its API, and archives
//! go to a store that takes a plain PUT and says nothing of it.

use waystation_testing::archive;

use crate::scripted_host::{host, reply};
use crate::user::User;

#[test]
fn an_archive_is_pushed_to_the_platform_by_an_exchanged_token_and_a_plain_put() {
    let (store, stored) = host(|asked| match asked.line.split(' ').next().unwrap() {
        "PUT" => reply(200, ""),
        _ => reply(403, "<Error><Code>AccessDenied</Code></Error>"),
    });
    let (auth, exchanged) = host(|_| reply(200, r#"{"token":"a.jwt.x"}"#));
    let links = format!(
        r#"{{"source":{{"upload_url":"{store}/up?token=1","download_url":"{store}/down?token=2","x":1}}}}"#
    );
    let (api, asked) = host(move |_| reply(201, &links));
    let user = User::new()
        .set("WAYSTATION_URL", &api)
        .set("WAYSTATION_AUTH_URL", &auth)
        .set("WAYSTATION_TOKEN", "tk-us-secret");
    let archive = archive(6_000_000, 51);
    user.write("a.tar.gz", &archive);
    let link = user.done(&["push", "a.tar.gz"]);
    assert_eq!(link, format!("{store}/down?token=2"));

    let exchange = &exchanged.lock().unwrap()[0];
    assert_eq!(exchange.line, "POST /v1/tokens/exchange HTTP/1.1");
    // No user, and the token as password.
    assert_eq!(
        exchange.header("authorization"),
        "Basic OnRrLXVzLXNlY3JldA=="
    );
    for asked in asked.lock().unwrap().iter() {
        assert_eq!(asked.line, "POST /v1/sources HTTP/1.1");
        assert_eq!(asked.header("authorization"), "Bearer a.jwt.x");
    }
    let stored = stored.lock().unwrap();
    let put = stored
        .iter()
        .find(|asked| asked.line.starts_with("PUT"))
        .unwrap();
    assert_eq!(put.line, "PUT /up?token=1 HTTP/1.1");
    assert_eq!(put.header("content-type"), "application/x-gzip");
    assert_eq!(put.header("authorization"), "");
    assert!(put.body == archive);
}
