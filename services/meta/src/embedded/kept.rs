//! The kept storage engine (fjall), and all that knows of it: one database, one keyspace.

use std::path::Path;

use bytes::Bytes;
use fjall::{
    Database, Error, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
};

use super::OpenError;
use crate::KeyValue;
use crate::occ::{Changes, Storage, StorageError, View};

/// The store's own row, beyond the user's keys: format byte, then the last version, big-endian.
const VERSION_KEY: &[u8] = b"\xffversion";
const FORMAT: u8 = 1;

const CACHE_BYTES: u64 = 16 << 20;
/// Small, so that little has to be replayed at a start.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The engine's own minimum.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Flushes and compactions of a few MB need one.
const WORKERS: usize = 1;
const FILES_MAX: usize = 64;

impl From<Error> for StorageError {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An open database. Its folder's lock is held as long as it, or a view of it, lives.
pub(crate) struct Kept {
    database: Database,
    keyspace: Keyspace,
}

/// A snapshot of it.
pub(crate) struct KeptView {
    snapshot: Snapshot,
    keyspace: Keyspace,
}

impl Kept {
    /// Opens or creates, and tells the last version committed.
    pub(crate) fn open(folder: &Path) -> Result<(Self, u64), OpenError> {
        let name = || folder.display().to_string();
        let failed = |error: Error| match error {
            Error::Locked => OpenError::InUse { folder: name() },
            other => OpenError::Failed {
                folder: name(),
                why: other.to_string(),
            },
        };
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(FILES_MAX))
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = database.keyspace("meta", options).map_err(failed)?;
        let row = keyspace.get(VERSION_KEY).map_err(failed)?;
        let version = match row.as_deref() {
            None => 0,
            Some([FORMAT, version @ ..]) => {
                let version = version.try_into().map_err(|_| OpenError::Failed {
                    folder: name(),
                    why: "its version row is damaged".into(),
                })?;
                u64::from_be_bytes(version)
            }
            Some(other) => {
                return Err(OpenError::UnknownFormat {
                    folder: name(),
                    found: other.first().copied().unwrap_or_default(),
                });
            }
        };
        let kept = Self { database, keyspace };
        Ok((kept, version))
    }
}

impl Storage for Kept {
    type View = KeptView;

    fn view(&self) -> KeptView {
        KeptView {
            snapshot: self.database.snapshot(),
            keyspace: self.keyspace.clone(),
        }
    }

    /// Held views keep their version, so `oldest` has no use here. The batch becomes visible to new snapshots
    /// after its sync, and an error of either poisons the engine too.
    fn apply(&mut self, version: u64, changes: &Changes, _oldest: u64) -> Result<(), StorageError> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key.clone(), value.clone()),
                None => batch.remove(&self.keyspace, key.clone()),
            }
        }
        let mut row = [FORMAT; 9];
        row[1..].copy_from_slice(&version.to_be_bytes());
        batch.insert(&self.keyspace, VERSION_KEY, row);
        Ok(batch.commit()?)
    }
}

impl View for KeptView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.snapshot.get(&self.keyspace, key)?;
        Ok(value.map(Bytes::from))
    }

    fn range<'a>(
        &'a self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<KeyValue, StorageError>> + 'a> {
        let pairs = self.snapshot.range(&self.keyspace, begin..end);
        if reverse {
            Box::new(pairs.rev().map(pair))
        } else {
            Box::new(pairs.map(pair))
        }
    }
}

fn pair(guard: Guard) -> Result<KeyValue, StorageError> {
    let (key, value) = guard.into_inner()?;
    Ok((key.into(), value.into()))
}
