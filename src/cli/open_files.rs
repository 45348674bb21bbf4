//! The system's limit of open files: each connection and each transfer needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::ServeSettings;
use crate::error_chain::chain;

/// Files that are open besides those of connections and transfers.
const OTHERS: u64 = 64;

/// Raises the limit to what the settings may need, as far as the system lets it: programs are
/// started with a lower one than they may ask for.
pub(super) fn raise_limit(settings: &ServeSettings) {
    let wanted = u64::from(settings.max_connections) + u64::from(settings.max_transfers) + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let current = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        },
    );
    if let Err(error) = raised {
        tracing::warn!(
            error = chain(&error),
            "cannot raise the limit of open files"
        );
    }
    if current < wanted {
        tracing::warn!(
            "the system allows {current} open files, fewer than the {wanted} that --max-connections and --max-transfers may need"
        );
    }
}
