//! A disk in memory that fails as real ones do: it loses unsynced writes, tears them at sectors, rots, fills
//! up, fails syncs and stalls. One seed decides everything.

mod image;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_runtime::Entropy;

use crate::disk::{Disk, DiskFile};
use image::Image;

/// How a simulated machine went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The process died: everything written stays, also what is in the cache only.
    Process,
    /// The power went: any subset of the unsynced sectors stays, and any prefix of the unsynced names.
    Power,
}

/// A simulated disk. Clones are the same disk; [`SimDisk::crash`] gives the disk the next process finds.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    entropy: Entropy,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    steps: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fail_sync_at: Option<u64>,
    syncs: u64,
    free_bytes: Option<u64>,
    write_full: bool,
    refusal: Option<Refusal>,
    stall: Option<Duration>,
}

/// Steps that need room and do not find it.
#[derive(Debug)]
struct Refusal {
    from: u64,
    times: u64,
    kind: io::ErrorKind,
}

impl SimDisk {
    /// An empty disk. `entropy` decides what a crash keeps and how long stalls are.
    #[must_use]
    pub fn new(entropy: &Entropy) -> Self {
        Self::with(Image::default(), entropy)
    }

    fn with(image: Image, entropy: &Entropy) -> Self {
        let state = State {
            image,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            entropy: entropy.clone(),
        }
    }

    /// Takes the disk from under its process, whose later calls all fail, and gives what the next one finds.
    #[must_use]
    pub fn crash(&self, how: Crash) -> Self {
        let mut state = self.state.lock();
        state.crashed = true;
        Self::with(state.image.after(how, &self.entropy), &self.entropy)
    }

    /// Durable steps so far: writes, syncs, creations, growths, renames and removals.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    /// Crashes at the step with this number (the first is 0): it and all later ones fail, a write has
    /// happened by then, a sync has not.
    pub fn crash_at(&self, step: u64) {
        self.state.lock().crash_at = Some(step);
    }

    /// Whether a planned crash has come.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// Makes the sync after `more` further ones fail, once. As on Linux, what it should have synced is then
    /// called clean: a later sync does not write it, reads see it until the cache is dropped or the power
    /// goes, and any part of it is on the disk.
    pub fn fail_sync_after(&self, more: u64) {
        let mut state = self.state.lock();
        state.fail_sync_at = Some(state.syncs + more);
    }

    /// Leaves this many bytes for new and growing files; `None` lifts the bound.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state.lock().free_bytes = bytes;
    }

    /// Makes every write fail with `ENOSPC` (a thin-provisioned disk that filled up) or stop doing so.
    pub fn set_writes_full(&self, full: bool) {
        self.state.lock().write_full = full;
    }

    /// Makes the first `times` steps that need room (writes, creations, growths) fail with `kind`, counted from the step
    /// with number `from` on.
    pub fn refuse_from(&self, from: u64, times: u64, kind: io::ErrorKind) {
        self.state.lock().refusal = Some(Refusal { from, times, kind });
    }

    /// How many refusals are still to come.
    #[must_use]
    pub fn refusals_left(&self) -> u64 {
        let state = self.state.lock();
        state.refusal.as_ref().map_or(0, |refusal| refusal.times)
    }

    /// Makes every group wait up to `bound`, uniformly.
    pub fn set_stall(&self, bound: Option<Duration>) {
        self.state.lock().stall = bound;
    }

    /// Names and sizes of the files as the running process sees them.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        self.state.lock().image.sizes()
    }

    /// Flips bits of a stored byte, synced or not. `false`: there is no such byte.
    #[must_use]
    pub fn rot(&self, name: &str, at: u64, bits: u8) -> bool {
        self.state.lock().image.rot(name, at, bits)
    }

    fn step<T>(&self, act: impl FnOnce(&mut State, bool) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.crashed {
            return Err(io::Error::other("the simulated machine is down"));
        }
        let now = state.crash_at == Some(state.steps);
        state.steps += 1;
        let outcome = act(&mut state, now);
        if now {
            state.crashed = true;
            return Err(io::Error::other("the simulated machine went down"));
        }
        outcome
    }
}

impl State {
    /// Why the current step, which was counted already, finds no room.
    fn refused(&mut self) -> Option<io::Error> {
        let refusal = self.refusal.as_mut()?;
        let due = refusal.times > 0 && refusal.from < self.steps;
        refusal.times -= u64::from(due);
        due.then(|| refusal.kind.into())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(refused) = self.refused() {
            return Err(refused);
        }
        if let Some(free) = &mut self.free_bytes {
            *free = free.checked_sub(bytes).ok_or_else(full)?;
        }
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the simulated machine is down"));
        }
        Ok(())
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.alive()?;
        Ok(state.image.names())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.step(|state, _| {
            state.reserve(bytes)?;
            state.image.create(name, bytes)
        })?;
        Ok(self.file(id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        state.alive()?;
        let id = state.image.find(name)?;
        drop(state);
        Ok(self.file(id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(|state, _| state.image.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|state, _| {
            let freed = state.image.remove(name)?;
            if let Some(free) = &mut state.free_bytes {
                *free += freed;
            }
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.step(|state, crashing| {
            if !crashing {
                state.image.sync_names();
            }
            Ok(())
        })
    }

    fn blocks(&self) -> bool {
        false
    }

    fn stall(&self) -> Duration {
        let bound = self.state.lock().stall.unwrap_or_default();
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.entropy.below(bound_us))
    }

    fn folder(&self) -> String {
        "the simulated disk".to_owned()
    }
}

impl SimDisk {
    fn file(&self, id: u64) -> Arc<dyn DiskFile> {
        let disk = self.clone();
        Arc::new(SimFile { disk, id })
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl DiskFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        state.alive()?;
        Ok(state.image.bytes(self.id))
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        self.disk.step(|state, _| {
            let more = bytes.saturating_sub(state.image.bytes(self.id));
            state.reserve(more)?;
            state.image.grow(self.id, bytes);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        self.disk.step(|state, _| {
            let mut bytes = Vec::with_capacity(slices.iter().map(|s| s.len()).sum());
            slices.iter().for_each(|s| bytes.extend_from_slice(s));
            let refused = state.refused();
            if let Some(error) = refused.or_else(|| state.write_full.then(full)) {
                // Some of it got through before the disk was full.
                let kept = self.disk.entropy.below(bytes.len() as u64);
                bytes.truncate(usize::try_from(kept).unwrap_or(0));
                state.image.write(self.id, offset, &bytes);
                return Err(error);
            }
            state.image.write(self.id, offset, &bytes);
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let state = self.disk.state.lock();
        state.alive()?;
        Ok(state.image.read(self.id, offset, len))
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.alive()?;
        state.image.drop_cache(self.id);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step(|state, crashing| {
            let fails = state.fail_sync_at == Some(state.syncs);
            state.syncs += 1;
            if fails {
                state.image.fail_sync(self.id, &self.disk.entropy);
                return Err(io::Error::other("the simulated disk failed a sync"));
            }
            if !crashing {
                state.image.sync(self.id);
            }
            Ok(())
        })
    }
}
