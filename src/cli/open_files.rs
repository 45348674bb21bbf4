//! The system's limit of open files: each connection needs one, and what it asks for needs more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::ServeSettings;
use crate::error_chain::chain;

/// Itself, the file of an archive or a document, and once more itself, where a thread sends that file.
const FILES_OF_CONNECTION: u64 = 3;
/// Files that are open besides those of connections, sweeps among them.
const OTHERS: u64 = 64;

/// Raises the limit to what the settings may need, as far as the system lets it: programs are started with
/// a lower one than they may ask for. Where that is too little, there are fewer connections: one that is not
/// accepted waits in the system's queue, while one without a file would be refused what it asks for.
pub(super) fn fit(settings: &mut ServeSettings) {
    let wanted = FILES_OF_CONNECTION * u64::from(settings.max_connections) + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let raised = Rlimit {
        current: Some(allowed),
        maximum: limit.maximum,
    };
    let allowed = match limit.current {
        Some(current) if current < allowed => match setrlimit(Resource::Nofile, raised) {
            Ok(()) => allowed,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "cannot raise the limit of open files");
                current
            }
        },
        _ => allowed,
    };
    if allowed < wanted {
        let connections = connections_within(allowed);
        tracing::warn!(
            "the system allows {allowed} open files (ulimit -n), which are enough for {connections} connections at once, not for the {} of --max-connections",
            settings.max_connections
        );
        settings.max_connections = connections;
    }
}

fn connections_within(files: u64) -> u32 {
    let connections = files.saturating_sub(OTHERS) / FILES_OF_CONNECTION;
    u32::try_from(connections).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_all_that_is_no_connection() {
        for (files, connections) in [(0, 1), (66, 1), (69, 1), (70, 2), (256, 64), (1024, 320)] {
            assert_eq!(connections_within(files), connections, "{files}");
        }
    }
}
