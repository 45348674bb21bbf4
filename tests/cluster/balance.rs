//! What stands in front of the nodes: each request goes to the next one that takes part.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::process::Signal;

use crate::fleet::{Node, SharedStore};
use waystation_testing::eventually;

/// The nodes that take part just now.
pub(crate) struct Balance {
    nodes: Mutex<Vec<Arc<Node>>>,
    next: AtomicUsize,
}

impl Balance {
    pub(crate) fn of(nodes: impl IntoIterator<Item = Node>) -> Self {
        Self {
            nodes: Mutex::new(nodes.into_iter().map(Arc::new).collect()),
            next: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.nodes.lock().unwrap()
    }

    /// The node for the next request.
    pub(crate) fn next(&self) -> Arc<Node> {
        let nodes = self.lock();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&nodes[turn % nodes.len()])
    }

    pub(crate) fn first(&self) -> Arc<Node> {
        Arc::clone(&self.lock()[0])
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.lock().iter().map(|node| node.address).collect()
    }

    pub(crate) fn add(&self, node: Node) {
        self.lock().push(Arc::new(node));
    }

    fn take_out(&self, address: SocketAddr) -> Arc<Node> {
        let mut nodes = self.lock();
        let is_it = |node: &Arc<Node>| node.address == address;
        let index = nodes.iter().position(is_it).unwrap();
        nodes.remove(index)
    }

    /// Kills a node. Only then is it taken out, as nobody in front of it could know before.
    pub(crate) fn kill(&self, node: &Node) {
        node.program.signal(Signal::KILL);
        self.take_out(node.address);
    }

    /// Starts a node again as an operator does: it is taken out first, and told to stop once nobody
    /// asks it any more.
    pub(crate) fn restart(&self, address: SocketAddr, store: &SharedStore, flags: &[&str]) {
        let mut shared = Some(self.take_out(address));
        let mut alone = None;
        eventually("nobody asks the node any more", || {
            match Arc::try_unwrap(shared.take().unwrap()) {
                Ok(node) => alone = Some(node),
                Err(node) => shared = Some(node),
            }
            alone.is_some()
        });
        alone.unwrap().stop();
        self.add(Node::start(store, flags));
    }

    /// Stops all nodes; none may have found a fault in itself.
    pub(crate) fn stop(self) {
        for node in self.nodes.into_inner().unwrap() {
            let told = node.program.stderr();
            assert!(!told.contains("a panic"), "{told}");
            Arc::into_inner(node).unwrap().stop();
        }
    }
}
