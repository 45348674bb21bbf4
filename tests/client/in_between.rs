//! What stands between client and server: proxies of the environment.

use waystation_testing::Waystation;
use waystation_testing::faulty_line::FaultyLine;

use crate::user::User;

/// To a proxy of plain HTTP a request is sent with all of its address.
#[test]
fn a_proxy_of_the_environment_is_used_and_exemptions_are_kept_to() {
    let server = Waystation::start(&[]);
    let proxy = FaultyLine::to(server.address, &[]);
    let user = User::of(&server);
    let url = server.url("");
    let user = user.set("http_proxy", &proxy.url());
    assert_eq!(user.done(&["whoami"]), format!("admin\t{url}"));
    let seen = proxy.sent_bytes();
    assert!(seen > 0);
    let user = user.set("no_proxy", "127.0.0.1");
    user.done(&["whoami"]);
    assert_eq!(proxy.sent_bytes(), seen);
    let user = user
        .set("no_proxy", "")
        .set("http_proxy", "http://127.0.0.1:1");
    user.failed(&["whoami"], 1);
}
