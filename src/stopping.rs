//! Whether the server runs, drains, or stops now: for everything inside it that waits.

use tokio::sync::watch;

/// Held by the server.
#[derive(Debug)]
pub struct StopSwitch(watch::Sender<Stage>);

/// Goes with each request, among its extensions. Clones are of the same server.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<Stage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    CuttingOff,
}

impl StopSwitch {
    pub fn new() -> (Self, Stopping) {
        let (stop, stopping) = watch::channel(Stage::Serving);
        (Self(stop), Stopping(stopping))
    }

    pub fn stop(&self) {
        self.0.send_replace(Stage::Draining);
    }

    /// What has not ended by now is about to be cut off.
    pub fn cut_off(&self) {
        self.0.send_replace(Stage::CuttingOff);
    }
}

impl Stopping {
    /// Returns when the server is to stop.
    pub async fn wait(&mut self) {
        self.reach(Stage::Draining).await;
    }

    /// Returns when there is only time for a last word.
    pub async fn wait_for_cut_off(&mut self) {
        self.reach(Stage::CuttingOff).await;
    }

    async fn reach(&mut self, wanted: Stage) {
        // An error means that the server is gone, which ends what waits just as well.
        let _ = self.0.wait_for(|stage| *stage >= wanted).await;
    }
}
