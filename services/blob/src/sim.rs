//! Objects in memory, for the simulator and tests. It does no wrong by itself: faults are a decorator's.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_runtime::Clock;

use crate::{
    BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Listed, Page, Put, PutId,
    PutMode, checked_range,
};

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    put: PutId,
    modified_ms: i64,
}

/// A store in memory. Clones share the objects; they outlive a simulated process.
#[derive(Clone)]
pub struct Sim {
    clock: Clock,
    objects: Arc<Mutex<BTreeMap<BlobKey, Object>>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    /// An empty store.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            objects: Arc::default(),
        }
    }

    /// Everything it holds, for checkers.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<BlobKey, Bytes> {
        let objects = self.objects.lock();
        objects
            .iter()
            .map(|(key, object)| (key.clone(), object.bytes.clone()))
            .collect()
    }

    /// Loses an object behind everybody's back. Whether it was there.
    #[must_use]
    pub fn lose(&self, key: &BlobKey) -> bool {
        self.objects.lock().remove(key).is_some()
    }

    /// Rots an object behind everybody's back: flips `mask`'s bits in the byte at `at`. Whether it was there.
    #[must_use]
    pub fn rot(&self, key: &BlobKey, at: usize, mask: u8) -> bool {
        let mut objects = self.objects.lock();
        let Some(object) = objects.get_mut(key).filter(|o| at < o.bytes.len()) else {
            return false;
        };
        let mut bytes = object.bytes.to_vec();
        bytes[at] ^= mask;
        object.bytes = bytes.into();
        true
    }

    fn find(&self, what: &str, key: &BlobKey) -> Result<Object, BlobError> {
        let found = self.objects.lock().get(key).cloned();
        found.ok_or_else(|| {
            BlobError::new(
                BlobErrorKind::NotFound,
                format_args!("{what} {key}"),
                "no such object",
            )
        })
    }
}

#[async_trait]
impl BlobStore for Sim {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        put.check()?;
        let mut objects = self.objects.lock();
        if put.mode == PutMode::IfAbsent
            && let Some(there) = objects.get(&put.key)
        {
            if there.put == put.id {
                return Ok(());
            }
            let what = format_args!("put {}", put.key);
            return Err(BlobError::new(
                BlobErrorKind::AlreadyExists,
                what,
                "the object exists",
            ));
        }
        let object = Object {
            bytes: put.body.to_bytes(),
            put: put.id,
            modified_ms: self.clock.wall_ms(),
        };
        objects.insert(put.key, object);
        Ok(())
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let len = checked_range(key, &range)?;
        let bytes = self.find("get", key)?.bytes;
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        if end > bytes.len() {
            let why = format_args!("the range {start}..{end} passes the end {}", bytes.len());
            return Err(BlobError::new(
                BlobErrorKind::Invalid,
                format_args!("get {key}"),
                why,
            ));
        }
        Ok(bytes.slice(start..end))
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        Ok(info(&self.find("head", key)?))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.objects.lock().remove(key);
        Ok(())
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        list.check()?;
        let objects = self.objects.lock();
        let mut found = objects.iter().filter(|(key, _)| {
            key.as_str().starts_with(&list.prefix)
                && list.after.as_ref().is_none_or(|after| *key > after)
        });
        let page: Vec<Listed> = found
            .by_ref()
            .take(list.page())
            .map(|(key, object)| Listed {
                key: key.clone(),
                info: info(object),
            })
            .collect();
        let more = found.next().is_some();
        let next = page.last().filter(|_| more).map(|last| last.key.clone());
        Ok(Page {
            objects: page,
            next,
        })
    }
}

fn info(object: &Object) -> BlobInfo {
    BlobInfo {
        bytes: object.bytes.len() as u64,
        modified_ms: object.modified_ms,
    }
}
