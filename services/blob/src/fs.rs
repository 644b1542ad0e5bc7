//! Objects as files below one folder: the quick start's engine.
//!
//! # Overview
//! A key is a path below the folder; the file holds the object's bytes and a trailer. All file calls run on the blocking
//! pool, at most [`CALLS_MAX`] at once. One process uses the folder at a time (a lock), others may attach to read.
//!
//! # Crash consistency
//! See [`files`]: an answered put or delete is synced, a half-written file is never seen under its key.
//!
//! # Cancellation
//! A dropped operation still runs to its end on its thread.

mod files;
#[cfg(test)]
mod tests;
mod trailer;
mod walk;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_runtime::Tasks;
use tokio::sync::Semaphore;

use self::files::{Files, PutFailure, ReadFailure};
use crate::{
    BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Page, Put, checked_range,
};

/// File operations at once: beyond what a disk does in parallel, far below the blocking pool's threads.
const CALLS_MAX: usize = 32;
const LOCK: &str = ".lock";

/// A folder of objects.
#[derive(Debug)]
pub struct Fs {
    files: Arc<Files>,
    calls: Semaphore,
    /// Held while the store is open; `None`: attached, for reading.
    lock: Option<File>,
}

impl Fs {
    /// Opens `root`, making it if need be, and deletes what a crash left half-written. Blocks.
    ///
    /// # Errors
    /// When another process has it open, or the folder cannot be made, read or written.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let failed = |e: io::Error| {
            BlobError::new(
                kind_of(&e),
                format_args!("open the folder {}", root.display()),
                e,
            )
        };
        std::fs::create_dir_all(root).map_err(failed)?;
        let lock = lock(root)?;
        let files = Files::new(root.to_owned());
        let leftovers = files.prepare().map_err(failed)?;
        if leftovers > 0 {
            tracing::info!(leftovers, "deleted half-written objects of the last run");
        }
        Ok(Self::over(root.to_owned(), Some(lock)))
    }

    /// Reads `root` beside the process that has it open. Puts and deletes are refused.
    ///
    /// # Errors
    /// When it is not a store's folder.
    pub fn attach(root: &Path) -> Result<Self, BlobError> {
        let store = Self::over(root.to_owned(), None);
        if store.files.is_there() {
            return Ok(store);
        }
        Err(store.gone(format_args!("open the folder {}", root.display())))
    }

    fn over(root: PathBuf, lock: Option<File>) -> Self {
        Self {
            files: Arc::new(Files::new(root)),
            calls: Semaphore::new(CALLS_MAX),
            lock,
        }
    }

    async fn call<T: Send + 'static>(&self, f: impl FnOnce(&Files) -> T + Send + 'static) -> T {
        let _permit = self
            .calls
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let files = Arc::clone(&self.files);
        Tasks::spawn_blocking(move || f(&files)).await
    }

    fn writable(&self, what: std::fmt::Arguments<'_>) -> Result<(), BlobError> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(BlobError::new(
                BlobErrorKind::Invalid,
                what,
                "the store was opened for reading only",
            )),
        }
    }

    fn gone(&self, what: std::fmt::Arguments<'_>) -> BlobError {
        let why = format_args!(
            "{} is not there, or not a store's folder",
            self.files.root().display()
        );
        BlobError::new(BlobErrorKind::NoBucket, what, why)
    }

    /// Words an error; a missing file in a missing folder is no answer about the object.
    fn io(&self, what: std::fmt::Arguments<'_>, error: &io::Error) -> BlobError {
        if error.kind() == io::ErrorKind::NotFound && !self.files.is_there() {
            return self.gone(what);
        }
        BlobError::new(kind_of(error), what, error)
    }

    fn read_error(&self, what: std::fmt::Arguments<'_>, failure: ReadFailure) -> BlobError {
        match failure {
            ReadFailure::Io(e) if files::is_absent(&e) && self.files.is_there() => {
                BlobError::new(BlobErrorKind::NotFound, what, "no such object")
            }
            ReadFailure::Io(e) => self.io(what, &e),
            ReadFailure::Damaged(why) => BlobError::new(BlobErrorKind::Corrupt, what, why),
            ReadFailure::Beyond(end) => {
                let why = format_args!("the range passes the end {end}");
                BlobError::new(BlobErrorKind::Invalid, what, why)
            }
        }
    }
}

#[async_trait]
impl BlobStore for Fs {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        put.check()?;
        let key = put.key.clone();
        self.writable(format_args!("put {key}"))?;
        let outcome = self.call(move |files| files.put(&put)).await;
        let what = format_args!("put {key}");
        match outcome {
            Ok(()) => Ok(()),
            Err(PutFailure::Exists) => Err(BlobError::new(
                BlobErrorKind::AlreadyExists,
                what,
                "the object exists",
            )),
            Err(PutFailure::Unknown(e)) => Err(self.io(what, &e).unknown_outcome()),
            Err(PutFailure::Nothing(e)) if e.kind() == io::ErrorKind::NotFound => {
                Err(self.gone(what))
            }
            Err(PutFailure::Nothing(e)) => Err(self.io(what, &e)),
        }
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let len = checked_range(key, &range)?;
        let of = key.clone();
        let read = self
            .call(move |files| files.read(&of, range.start, len))
            .await;
        read.map_err(|e| self.read_error(format_args!("get {key}"), e))
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        let of = key.clone();
        let info = self.call(move |files| files.info(&of)).await;
        info.map_err(|e| self.read_error(format_args!("head {key}"), e))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.writable(format_args!("delete {key}"))?;
        let of = key.clone();
        let outcome = self
            .call(move |files| (files.delete(&of), files.is_there()))
            .await;
        match outcome {
            (Ok(()), true) => Ok(()),
            (Ok(()), false) => Err(self.gone(format_args!("delete {key}"))),
            (Err(e), _) => Err(self.io(format_args!("delete {key}"), &e)),
        }
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        list.check()?;
        let prefix = list.prefix.clone();
        let outcome = self
            .call(move |files| (walk::walk(files.root(), &list), files.is_there()))
            .await;
        match outcome {
            (Ok(page), true) => Ok(page),
            (Ok(_), false) => Err(self.gone(format_args!("list {prefix:?}"))),
            (Err(e), _) => Err(self.io(format_args!("list {prefix:?}"), &e)),
        }
    }
}

fn lock(root: &Path) -> Result<File, BlobError> {
    let what = format_args!("open the folder {}", root.display()).to_string();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join(LOCK));
    let file = file.map_err(|e| BlobError::new(kind_of(&e), &what, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BlobError::new(
            BlobErrorKind::Unavailable,
            what,
            "another process has it open; one process uses it at a time",
        )),
        Err(TryLockError::Error(e)) => Err(BlobError::new(kind_of(&e), what, e)),
    }
}

fn kind_of(error: &io::Error) -> BlobErrorKind {
    use io::ErrorKind as E;
    match error.kind() {
        E::NotFound => BlobErrorKind::NotFound,
        E::StorageFull | E::QuotaExceeded => BlobErrorKind::Full,
        E::PermissionDenied | E::ReadOnlyFilesystem => BlobErrorKind::Unauthorized,
        // A key that is a folder of another key, or below one; a filesystem without hard links.
        E::IsADirectory
        | E::NotADirectory
        | E::DirectoryNotEmpty
        | E::Unsupported
        | E::FileTooLarge => BlobErrorKind::Invalid,
        _ => BlobErrorKind::Unavailable,
    }
}
