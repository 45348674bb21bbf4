//! Whether the server goes on, or ends when it can: for all that waits inside it.

use tokio::sync::watch;

/// Held by the server.
#[derive(Debug)]
pub struct StopSwitch(watch::Sender<bool>);

/// Goes with each request, among its extensions. Clones are of the same server.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl StopSwitch {
    pub fn new() -> (Self, Stopping) {
        let (stop, stopping) = watch::channel(false);
        (Self(stop), Stopping(stopping))
    }

    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Returns when the server is to stop.
    pub async fn wait(&mut self) {
        // An error means that the server is gone, which ends what waits just as well.
        let _ = self.0.wait_for(|is_stopping| *is_stopping).await;
    }
}
