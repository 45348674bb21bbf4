//! The platform's own JavaScript library, unchanged. The calls of its command line are in
//! `tests/api/platform_cli.rs`.

use serde_json::Value;
use waystation_testing::program::{run, tools, without_settings};
use waystation_testing::{Waystation, repository};

#[test]
fn the_platforms_javascript_library_works_unchanged() {
    let server = Waystation::start(&[]);
    let script = repository().join("tests/tools/client.cjs");
    let mut node = without_settings(tools().join("bin/node").to_str().unwrap());
    node.arg(script)
        .arg(tools().join("npm/node_modules"))
        .args([&server.url(""), server.api_token()]);
    let ended = run(node);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();

    assert_eq!(told["bearer"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(told["user"]["username"], "admin");
    assert_eq!(told["regions"][0]["api"], server.url(""));
    assert_eq!(told["tokens"].as_array().unwrap().len(), 3);
    assert_eq!(told["created"]["name"], "from the library");
    assert_eq!(told["renewed"]["id"], told["created"]["id"]);
    assert_ne!(told["renewed"]["token"], told["created"]["token"]);
    assert_eq!(told["left"].as_array().unwrap().len(), 2);
    assert_eq!(told["refused"]["status"], 401);
    assert!(told["refused"]["data"]["error"].is_string());
}
