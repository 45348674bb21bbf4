//! A power cut while a journal is appended to: what its file was at each call, mixed sector by sector with what the
//! last sync had covered. What had been answered is there, and what was under way is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempDir;
use waystation::store::folder::{Faults, Sync, Verdict};
use waystation::store::{Appended, FolderStore, JournalKey, Store};
use waystation_testing::dice::Dice;

const KEY: JournalKey = JournalKey::new([1; 16], 7);
const NAME: &str = "01010101010101010101010101010101-00000000000000000007";
const SECTOR_BYTES: usize = 512;
/// Within a sector, over several, and as many as a page has.
const LENGTHS: [usize; 9] = [10, 1, 5_000, 502, 512, 4_096, 9_000, 3, 200];
/// How often the power is cut at each call.
const CUTS: usize = 30;

/// The file of a journal before one of the calls that append to it.
#[derive(Clone, Debug, Default)]
struct Instant {
    call: &'static str,
    /// How much of the journal had been answered for.
    answered: usize,
    synced: Vec<u8>,
    written: Vec<u8>,
    is_name_synced: bool,
}

/// What is seen of a store from below.
#[derive(Debug, Default)]
struct Watch {
    now: Instant,
    instants: Vec<Instant>,
}

impl Watch {
    /// The call before this one has returned.
    fn note(&mut self, call: &'static str, path: &Path) {
        match self.now.call {
            "fdatasync" => self.now.synced.clone_from(&self.now.written),
            "fsync" => self.now.is_name_synced = true,
            _ => {}
        }
        self.now.written = fs::read(path).unwrap_or_default();
        self.now.call = call;
        self.instants.push(self.now.clone());
    }
}

fn journal_in(root: &Path) -> PathBuf {
    root.join("journals").join(NAME)
}

/// What the journal is to hold in the end.
fn all_bytes() -> Bytes {
    let length = LENGTHS.iter().sum();
    // No byte is a zero, as what was never written is.
    (0..length)
        .map(|at| u8::try_from(at % 251).unwrap() + 1)
        .collect()
}

/// Appends them all, and returns the instants of that.
async fn append_all() -> Vec<Instant> {
    let folder = room();
    let path = journal_in(folder.path());
    let watch = Arc::new(Mutex::new(Watch::default()));
    let watched = Arc::clone(&watch);
    let faults = Faults::decided_by(Arc::new(move |call| {
        watched.lock().unwrap().note(call, &path);
        Verdict::Go
    }));
    let store = FolderStore::open_failing(folder.path().to_owned(), Sync::On, 0, faults).unwrap();
    let store = Store::Folder(store);
    *watch.lock().unwrap() = Watch::default();
    let (bytes, mut at) = (all_bytes(), 0);
    for length in LENGTHS {
        let appended = store.append_journal(&KEY, at as u64, bytes.slice(at..at + length));
        let appended = appended.await.unwrap();
        at += length;
        assert_eq!(appended, Appended::Done { length: at as u64 });
        let mut watch = watch.lock().unwrap();
        watch.note("answer", &journal_in(folder.path()));
        watch.now.answered = at;
        let now = &watch.now;
        assert!(
            now.synced == now.written && now.is_name_synced,
            "{}",
            now.call
        );
    }
    watch.lock().unwrap().instants.clone()
}

/// What is left of the file.
fn torn(instant: &Instant, dice: &mut Dice) -> Vec<u8> {
    let (synced, written) = (&instant.synced, &instant.written);
    let fresh_bytes = written.len() - synced.len();
    let length = match dice.below(3) {
        0 => synced.len(),
        1 => written.len(),
        _ => synced.len() + dice.below(fresh_bytes + 1),
    };
    let percent = *dice.pick(&[10, 50, 90]);
    let mut left = written[..length].to_vec();
    for (number, sector) in left.chunks_mut(SECTOR_BYTES).enumerate() {
        if dice.chance(percent) {
            continue;
        }
        let old = synced.get(number * SECTOR_BYTES..).unwrap_or_default();
        for (at, byte) in sector.iter_mut().enumerate() {
            *byte = old.get(at).copied().unwrap_or_default();
        }
    }
    left
}

/// Where nothing waits for a device.
fn room() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Starts a server on what is left, and goes on with it.
async fn check(instant: &Instant, left: Option<Vec<u8>>) -> usize {
    let folder = room();
    let root = folder.path();
    fs::create_dir(root.join("journals")).unwrap();
    if let Some(left) = left {
        fs::write(journal_in(root), left).unwrap();
    }
    let open = || Store::Folder(FolderStore::open(root.to_owned(), Sync::Off, 0).unwrap());
    let (store, bytes) = (open(), all_bytes());
    let length = store.journal_length(&KEY).await.unwrap();
    let length = usize::try_from(length).unwrap();
    let ends = LENGTHS.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    let next = ends.into_iter().find(|end| *end > instant.answered);
    let is_allowed = length == instant.answered || Some(length) == next;
    assert!(is_allowed, "{length} after {}", instant.answered);
    let read = store.read_journal(&KEY, 0, bytes.len()).await.unwrap();
    assert!(read == bytes[..length]);
    assert_eq!(store.audit().await.unwrap().faults, Vec::<String>::new());

    // It goes on from there, twice, so that both slots are written.
    for end in [length + 7, bytes.len() + 9] {
        let rest = [&bytes[..], b"and more."].concat();
        let at = store.journal_length(&KEY).await.unwrap();
        let at = usize::try_from(at).unwrap();
        let more = Bytes::copy_from_slice(&rest[at..end.min(rest.len()).max(at)]);
        store.append_journal(&KEY, at as u64, more).await.unwrap();
    }
    let read = open().read_journal(&KEY, 0, 1_000_000).await.unwrap();
    assert!(read == [&bytes[..], b"and more."].concat());
    length
}

#[tokio::test]
async fn a_power_cut_tears_nothing_that_is_shown_of_a_journal() {
    let mut dice = Dice::new("torn journals");
    let instants = append_all().await;
    let (mut cuts, mut undone) = (0, 0);
    for instant in &instants {
        if instant.synced == instant.written && instant.is_name_synced {
            let kept = check(instant, Some(instant.written.clone())).await;
            assert_eq!(kept, instant.answered.max(kept));
            continue;
        }
        if !instant.is_name_synced {
            assert_eq!(check(instant, None).await, 0);
        }
        for _ in 0..CUTS {
            let kept = check(instant, Some(torn(instant, &mut dice))).await;
            undone += usize::from(kept == instant.answered);
            cuts += 1;
        }
    }
    assert!(
        cuts > 300 && undone > 0 && undone < cuts,
        "{undone} of {cuts}"
    );
    println!("soak: {cuts} power cuts in appends, {undone} of them undone");
}
