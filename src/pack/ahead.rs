//! Reading ahead on a thread of its own, so that an archive is decompressed beside the writing of what is in it.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use super::compression::BUFFER_BYTES;

/// How many pieces are read that nobody has taken yet.
const PIECES: usize = 8;

pub(super) struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    /// Where a piece goes back to be filled again.
    spent: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    /// How much of the piece has been taken.
    taken: usize,
}

impl Ahead {
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: impl Read + Send + 'scope,
    ) -> io::Result<Self> {
        let (give, pieces) = sync_channel(PIECES);
        let (spent, take_back) = sync_channel(PIECES);
        let read = move || read_all(source, &give, &take_back);
        Builder::new().spawn_scoped(scope, read)?;
        Ok(Self {
            pieces,
            spent,
            piece: Vec::new(),
            taken: 0,
        })
    }
}

/// The work of the thread, until the end of the source, or until nobody wants more of it.
fn read_all(
    mut source: impl Read,
    give: &SyncSender<io::Result<Vec<u8>>>,
    take_back: &Receiver<Vec<u8>>,
) {
    loop {
        let mut piece = take_back.try_recv().unwrap_or_default();
        piece.clear();
        // Full ones: an archive can be such that each read gives a single byte.
        let read = source
            .by_ref()
            .take(BUFFER_BYTES as u64)
            .read_to_end(&mut piece);
        let is_last = piece.is_empty() || read.is_err();
        let is_wanted = piece.is_empty() || give.send(Ok(piece)).is_ok();
        if let (true, Err(error)) = (is_wanted, read) {
            // Nobody is left to hear of it, or they do.
            let _ = give.send(Err(error));
        }
        if is_last || !is_wanted {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken == self.piece.len()
            && let Ok(next) = self.pieces.recv()
        {
            let spent = std::mem::replace(&mut self.piece, next?);
            self.taken = 0;
            // Nothing is read any more, or enough have gone back.
            let _ = self.spent.try_send(spent);
        }
        Ok(&self.piece[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("it fails"))
        }
    }

    #[test]
    fn all_comes_in_its_order_and_then_the_end_or_the_failure() {
        let bytes = BUFFER_BYTES * PIECES * 3 + 1;
        let bytes: Vec<_> = (0..u8::MAX).cycle().take(bytes).collect();
        let (mut all, mut before) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            let mut ahead = Ahead::start(scope, &bytes[..]).unwrap();
            ahead.read_to_end(&mut all).unwrap();
            assert_eq!(ahead.fill_buf().unwrap(), b"");
            let mut ahead = Ahead::start(scope, bytes.chain(Failing)).unwrap();
            let failed = ahead.read_to_end(&mut before).unwrap_err();
            assert_eq!(failed.to_string(), "it fails");
        });
        assert!(all == bytes && before == bytes);
    }

    #[test]
    fn nothing_more_is_read_once_nobody_wants_it() {
        thread::scope(|scope| drop(Ahead::start(scope, io::repeat(0))));
    }
}
