//! Locks that no panic closes for good. Only for what is whole whenever it can be seen: nothing that is done while one of
//! these is held can leave it half changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
