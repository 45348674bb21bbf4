//! The remaining quota of a user, as headers of the answer.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName};

use super::answer::{ceil_seconds, set_header};
use crate::limits::{Allowance, PERIOD};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Where the extractor that counts a call leaves the user's remaining quota.
#[derive(Clone, Default)]
pub(super) struct AllowanceNote(Arc<OnceLock<Allowance>>);

impl AllowanceNote {
    pub(super) fn leave(&self, allowance: Allowance) {
        // A request is counted once; were it twice, the first note would do.
        let _ = self.0.set(allowance);
    }

    /// As the IETF's draft on rate limit headers spells it: quota and window; what remains, and when
    /// all of it is back, in seconds.
    pub(super) fn put_headers(&self, headers: &mut HeaderMap) {
        let Some(allowance) = self.0.get() else {
            return;
        };
        let Allowance {
            quota, remaining, ..
        } = allowance;
        let window = PERIOD.as_secs();
        let reset = ceil_seconds(allowance.reset_after);
        let policy = format!("\"user\";q={quota};w={window}");
        let left = format!("\"user\";r={remaining};t={reset}");
        set_header(headers, RATELIMIT_POLICY, &policy);
        set_header(headers, RATELIMIT, &left);
    }
}
