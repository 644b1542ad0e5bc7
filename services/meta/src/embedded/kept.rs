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
        let version = match row.as_deref().map(decode_version) {
            None => 0,
            Some(Ok(version)) => version,
            Some(Err(Some(found))) => {
                let folder = name();
                return Err(OpenError::UnknownFormat { folder, found });
            }
            Some(Err(None)) => {
                return Err(OpenError::Failed {
                    folder: name(),
                    why: "its version row is damaged".into(),
                });
            }
        };
        let kept = Self { database, keyspace };
        Ok((kept, version))
    }
}

fn encode_version(version: u64) -> [u8; 9] {
    let mut row = [FORMAT; 9];
    row[1..].copy_from_slice(&version.to_be_bytes());
    row
}

/// `Err`: the other format found, or none that can be told.
fn decode_version(row: &[u8]) -> Result<u64, Option<u8>> {
    match row {
        [FORMAT, version @ ..] => version.try_into().map(u64::from_be_bytes).map_err(|_| None),
        [other, ..] => Err(Some(*other)),
        [] => Err(None),
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
        batch.insert(&self.keyspace, VERSION_KEY, encode_version(version));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_row_does_not_change() {
        let encode = |v: &u64| encode_version(*v).to_vec();
        tidemark_golden::newest("embedded/version-v1", &0x0102_0304, encode, decode_version);
        assert_eq!(decode_version(&[2, 0]), Err(Some(2)));
        assert_eq!(decode_version(&[FORMAT, 0]), Err(None));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, _) = Kept::open(folder.path()).unwrap();
        kept.keyspace.insert(VERSION_KEY, [9; 9]).unwrap();
        drop(kept);
        let error = Kept::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::UnknownFormat { found: 9, .. }));
    }
}
