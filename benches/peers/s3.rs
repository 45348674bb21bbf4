//! Links that are signed beforehand, as S3 has them: signature version 4 in the query.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::body::in_hex;

pub(crate) const BUCKET: &str = "bucket";
const ACCESS_KEY: &str = "bench";
const SECRET_KEY: &str = "known-to-everyone";
const SCOPE: [&str; 3] = ["us-east-1", "s3", "aws4_request"];

/// The file of the identities that `SeaweedFS` knows.
pub(crate) fn identities() -> String {
    let credentials = format!(r#"{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}"#);
    let actions = r#"["Admin","Read","Write","List"]"#;
    format!(
        r#"{{"identities":[{{"name":"bench","credentials":[{credentials}],"actions":{actions}}}]}}"#
    )
}

/// The variables in which a server of ours looks for what it needs to use it.
pub(crate) fn environment() -> [(&'static str, &'static str); 3] {
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", SCOPE[0]),
    ]
}

/// `path` with a query that allows `method` for an hour.
pub(crate) fn sign(method: &str, host: &str, path: &str) -> String {
    let now = jiff::Timestamp::now();
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let scope = format!("{date}/{}", SCOPE.join("/"));
    let credential = format!("{ACCESS_KEY}/{scope}").replace('/', "%2F");
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={time}\
         &X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
    );
    let request = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let hashed = in_hex(&Sha256::digest(request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
    let first = mac(format!("AWS4{SECRET_KEY}").as_bytes(), date);
    let key = SCOPE.iter().fold(first, |key, part| mac(&key, part));
    let signature = in_hex(&mac(&key, &to_sign));
    format!("{path}?{query}&X-Amz-Signature={signature}")
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
