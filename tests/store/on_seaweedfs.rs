//! The store in a bucket of `SeaweedFS`.

use waystation::store::Store;
use waystation_testing::seaweedfs::SeaweedFs;

use crate::bucket::new_store_at;

/// A store below a prefix of its own: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    ((), new_store_at(SeaweedFs::shared().endpoint()))
}
