//! A machine's disk: the log node's simulated one, whose crash takes the machine with it.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidemark_lognode::sim::SimDisk;
use tidemark_lognode::{Disk, DiskFile};

use crate::life::Life;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct MachineDisk {
    pub(crate) inner: SimDisk,
    pub(crate) life: Life,
    /// Once set, answers syncs without doing them: a disk that acks before it is durable.
    pub(crate) lies: Arc<AtomicBool>,
}

impl MachineDisk {
    /// A planned crash that has come ends the machine at that very step.
    fn seen<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() && self.inner.crashed() {
            self.life.kill();
        }
        outcome
    }

    fn file(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.seen(file)?;
        let disk = self.clone();
        Ok(Arc::new(MachineFile { inner, disk }))
    }
}

impl Disk for MachineDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.inner.create(name, bytes))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.inner.open(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.seen(self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.seen(self.inner.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.seen(self.inner.sync_dir())
    }

    fn blocks(&self) -> bool {
        false
    }

    fn stall(&self) -> Duration {
        self.inner.stall()
    }

    fn folder(&self) -> String {
        self.inner.folder()
    }
}

#[derive(Debug)]
struct MachineFile {
    inner: Arc<dyn DiskFile>,
    disk: MachineDisk,
}

impl DiskFile for MachineFile {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        self.disk.seen(self.inner.grow(bytes))
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        self.disk.seen(self.inner.write_at(offset, slices))
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.inner.read_at(offset, len)
    }

    fn sync(&self) -> io::Result<()> {
        if self.disk.lies.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.disk.seen(self.inner.sync())
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}
