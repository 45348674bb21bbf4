//! Why a deployment is stopped, for all who work on it to see.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
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
pub(super) struct HaltSwitch(watch::Sender<Option<Halt>>);

impl HaltSwitch {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn pull(&self, halt: Halt) {
        self.0.send_if_modified(|pulled| {
            let is_first = pulled.is_none();
            pulled.get_or_insert(halt);
            is_first
        });
    }

    pub(super) fn pulled(&self) -> Option<Halt> {
        *self.0.borrow()
    }

    pub(super) async fn wait(&self) -> Halt {
        let mut pulled = self.0.subscribe();
        let found = pulled.wait_for(Option::is_some).await;
        found.ok().and_then(|halt| *halt).unwrap_or(Halt::ShutDown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let switch = HaltSwitch::new();
        assert_eq!(switch.pulled(), None);
        switch.pull(Halt::Cancelled);
        switch.pull(Halt::Deadline);
        assert_eq!(switch.wait().await, Halt::Cancelled);
    }
}
