//! What a simulated disk holds: per sector the durable content, every version written since the last sync, and
//! what a failed sync left in the cache only.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use tidemark_runtime::Entropy;

use super::Crash;

/// Bytes that a device writes atomically.
const SECTOR: usize = 512;
type Sector = [u8; SECTOR];

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    next_id: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Name changes since the last directory sync, oldest first.
    changes: Vec<Change>,
    files: BTreeMap<u64, Content>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, u64),
    Drop(String),
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: u64,
    durable_bytes: u64,
    durable: BTreeMap<u64, Sector>,
    unsynced: BTreeMap<u64, Vec<Sector>>,
    /// Called clean by a failed sync: read, but not on the disk.
    cached: BTreeMap<u64, Sector>,
}

impl Image {
    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn sizes(&self) -> Vec<(String, u64)> {
        self.names
            .iter()
            .map(|(name, id)| (name.clone(), self.bytes(*id)))
            .collect()
    }

    pub(super) fn find(&self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        self.names.get(name).copied().ok_or_else(missing)
    }

    pub(super) fn create(&mut self, name: &str, bytes: u64) -> io::Result<u64> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.next_id;
        self.next_id += 1;
        let content = Content {
            bytes,
            ..Content::default()
        };
        self.files.insert(id, content);
        self.change(Change::Put(name.to_owned(), id));
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.find(from)?;
        self.change(Change::Drop(from.to_owned()));
        self.change(Change::Put(to.to_owned(), id));
        Ok(())
    }

    /// Removes a name and gives the bytes it held.
    pub(super) fn remove(&mut self, name: &str) -> io::Result<u64> {
        let id = self.find(name)?;
        self.change(Change::Drop(name.to_owned()));
        Ok(self.bytes(id))
    }

    pub(super) fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
        self.changes.clear();
    }

    pub(super) fn bytes(&self, id: u64) -> u64 {
        self.files.get(&id).map_or(0, |f| f.bytes)
    }

    pub(super) fn grow(&mut self, id: u64, bytes: u64) {
        let file = self.files.entry(id).or_default();
        file.bytes = file.bytes.max(bytes);
    }

    pub(super) fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) {
        let file = self.files.entry(id).or_default();
        file.bytes = file.bytes.max(offset + bytes.len() as u64);
        each_sector(offset, bytes.len(), |number, in_sector, in_bytes| {
            let mut sector = file.sector(number);
            sector[in_sector].copy_from_slice(&bytes[in_bytes]);
            file.cached.remove(&number);
            file.unsynced.entry(number).or_default().push(sector);
        });
    }

    pub(super) fn read(&self, id: u64, offset: u64, len: usize) -> Bytes {
        let Some(file) = self.files.get(&id) else {
            return Bytes::new();
        };
        let left = usize::try_from(file.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut out = vec![0; len.min(left)];
        let len = out.len();
        each_sector(offset, len, |number, in_sector, in_out| {
            out[in_out].copy_from_slice(&file.sector(number)[in_sector]);
        });
        Bytes::from(out)
    }

    pub(super) fn sync(&mut self, id: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            file.durable_bytes = file.bytes;
            for (number, versions) in std::mem::take(&mut file.unsynced) {
                file.durable
                    .extend(versions.last().map(|last| (number, *last)));
            }
        }
    }

    /// Loses any part of what is unsynced and goes on showing it.
    pub(super) fn fail_sync(&mut self, id: u64, entropy: &Entropy) {
        if let Some(file) = self.files.get_mut(&id) {
            let shown = file.unsynced.iter();
            let shown = shown.filter_map(|(number, v)| Some((*number, *v.last()?)));
            let shown: Vec<_> = shown.collect();
            file.lose_writes(entropy);
            file.cached.extend(shown);
        }
    }

    pub(super) fn drop_cache(&mut self, id: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            file.cached.clear();
        }
    }

    pub(super) fn rot(&mut self, name: &str, at: u64, bits: u8) -> bool {
        let Some(file) = self
            .names
            .get(name)
            .and_then(|id| self.files.get_mut(id))
            .filter(|file| at < file.bytes)
        else {
            return false;
        };
        let (number, byte) = split(at);
        let mut sector = file.sector(number);
        sector[byte] ^= bits;
        match file.unsynced.get_mut(&number).and_then(|v| v.last_mut()) {
            Some(last) => *last = sector,
            None => {
                let durable = file.durable.entry(number).or_insert([0; SECTOR]);
                durable[byte] ^= bits;
            }
        }
        true
    }

    /// What the next process finds; everything in it is durable.
    pub(super) fn after(&self, how: Crash, entropy: &Entropy) -> Self {
        let mut next = self.clone();
        match how {
            Crash::Process => {
                let ids: Vec<u64> = next.files.keys().copied().collect();
                ids.into_iter().for_each(|id| next.sync(id));
            }
            Crash::Power => {
                next.names = next.durable_names.clone();
                let kept = entropy.below(next.changes.len() as u64 + 1);
                for change in std::mem::take(&mut next.changes)
                    .into_iter()
                    .take(usize::try_from(kept).unwrap_or(0))
                {
                    change.apply(&mut next.names);
                }
                for file in next.files.values_mut() {
                    file.lose(entropy);
                }
            }
        }
        next.sync_names();
        let named: Vec<u64> = next.names.values().copied().collect();
        next.files.retain(|id, _| named.contains(id));
        next
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Put(name, id) => {
                names.insert(name, id);
            }
            Self::Drop(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Content {
    fn sector(&self, number: u64) -> Sector {
        let unsynced = self.unsynced.get(&number).and_then(|v| v.last());
        unsynced
            .or_else(|| self.cached.get(&number))
            .or_else(|| self.durable.get(&number))
            .copied()
            .unwrap_or([0; SECTOR])
    }

    /// Keeps, of every unsynced sector, its durable content or any version written since.
    fn lose_writes(&mut self, entropy: &Entropy) {
        for (number, versions) in std::mem::take(&mut self.unsynced) {
            let kept = entropy.below(versions.len() as u64 + 1);
            let version = usize::try_from(kept).ok().and_then(|k| versions.get(k));
            self.durable.extend(version.map(|v| (number, *v)));
        }
    }

    /// What a power loss leaves.
    fn lose(&mut self, entropy: &Entropy) {
        self.lose_writes(entropy);
        self.cached.clear();
        if self.durable_bytes != self.bytes && entropy.below(2) == 0 {
            self.bytes = self.durable_bytes;
        }
        self.durable_bytes = self.bytes;
    }
}

fn split(at: u64) -> (u64, usize) {
    let byte = usize::try_from(at % SECTOR as u64).unwrap_or(0);
    (at / SECTOR as u64, byte)
}

/// Calls `each(sector, range in the sector, range in the buffer)` for every sector of a range.
fn each_sector(
    offset: u64,
    len: usize,
    mut each: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < len {
        let (number, from) = split(offset + done as u64);
        let n = (SECTOR - from).min(len - done);
        each(number, from..from + n, done..done + n);
        done += n;
    }
}
