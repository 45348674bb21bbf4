//! Why a deployment is stopped, for all who work on it to see.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Its user does not want it any more.
    Cancelled,
    Deadline,
    /// The server has given it up, or has ended it otherwise.
    Lost,
    /// The runner itself is to end.
    ShutDown,
}

/// The first reason stays.
#[derive(Clone, Debug)]
pub(super) struct StopSignal(watch::Sender<Option<StopReason>>);

impl StopSignal {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(reason);
            is_first
        });
    }

    pub(super) fn reason(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    pub(super) async fn wait(&self) -> StopReason {
        let mut reason = self.0.subscribe();
        let found = reason.wait_for(Option::is_some).await;
        found
            .ok()
            .and_then(|reason| *reason)
            .unwrap_or(StopReason::ShutDown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let signal = StopSignal::new();
        assert_eq!(signal.reason(), None);
        signal.stop(StopReason::Cancelled);
        signal.stop(StopReason::Deadline);
        assert_eq!(signal.wait().await, StopReason::Cancelled);
    }
}
