//! A real folder.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::Errno;
use tidemark_direct::{self as direct, Gather, Memory, SLAB_BYTES, retry};

use super::{Disk, DiskFile, one_by_one};
use crate::OpenError;

/// What readers keep (32 MiB by default) and two objects under construction; readers that hold single frames for long hold no
/// more slabs than these either. The writer has one of its own.
const SLABS_MAX: usize = (64 << 20) / SLAB_BYTES;
/// Linux takes this many slices per call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;
const LOCK: &str = "LOCK";

/// A folder of the file system, locked for this process until dropped.
#[derive(Debug)]
pub struct FileDisk {
    folder: PathBuf,
    dir: File,
    memory: Memory,
    gather: Arc<Gather>,
    _lock: Option<File>,
}

impl FileDisk {
    /// Opens the folder, creating it when missing, and locks it.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another process holds the lock.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder)
            .map_err(OpenError::io(format!("create {}", folder.display())))?;
        let path = folder.join(LOCK);
        let lock = options()
            .create(true)
            .open(&path)
            .map_err(OpenError::io(format!("open {}", path.display())))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let folder = folder.display().to_string();
                return Err(OpenError::InUse { folder });
            }
            Err(e) => return Err(OpenError::io(format!("lock {}", path.display()))(e.into())),
        }
        Self::at(folder, Some(lock))
    }

    /// Opens an existing folder without locking it, for reading a stopped node.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn read_only(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::at(folder.as_ref(), None)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the room for files")]
    fn at(folder: &Path, lock: Option<File>) -> Result<Self, OpenError> {
        let dir =
            File::open(folder).map_err(OpenError::io(format!("open {}", folder.display())))?;
        Ok(Self {
            folder: folder.to_owned(),
            dir,
            gather: Arc::new(Gather::new(Memory::new(1))),
            memory: Memory::new(SLABS_MAX),
            _lock: lock,
        })
    }

    fn file(&self, file: File) -> RealFile {
        RealFile {
            file,
            direct: OnceLock::new(),
            only_cached: AtomicBool::new(false),
            memory: self.memory.clone(),
            gather: self.gather.clone(),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = self.file(options().create_new(true).open(path)?);
        if let Err(error) = file.grow(bytes) {
            let _ = std::fs::remove_file(self.folder.join(name));
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = match options().open(&path) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && self._lock.is_none() => {
                OpenOptions::new().read(true).open(&path)?
            }
            other => other?,
        };
        Ok(Arc::new(self.file(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn folder(&self) -> String {
        self.folder.display().to_string()
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// The same file for direct access, from the first one on; `None` where there is none.
    direct: OnceLock<Option<File>>,
    /// The file system refused direct access.
    only_cached: AtomicBool,
    memory: Memory,
    gather: Arc<Gather>,
}

impl RealFile {
    fn direct(&self) -> Option<&File> {
        if self.only_cached.load(Ordering::Relaxed) {
            return None;
        }
        let open = || direct::reopen(&self.file).ok();
        self.direct.get_or_init(open).as_ref()
    }

    /// What direct access gives; `None` where there is none, and the page cache serves.
    fn directly<T>(&self, access: impl FnOnce(&File) -> io::Result<T>) -> Option<io::Result<T>> {
        match access(self.direct()?) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.only_cached.store(true, Ordering::Relaxed);
                None
            }
            other => Some(other),
        }
    }

    fn write_cached(&self, mut offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut left = slices;
        let mut skip = 0;
        while let Some(first) = left.first() {
            // A call that wrote a part of a slice is followed by one for that slice's rest.
            let written = if skip > 0 {
                retry(|| rustix::io::pwrite(&self.file, &first[skip..], offset))?
            } else {
                let some = &left[..left.len().min(SLICES_MAX)];
                retry(|| rustix::io::pwritev(&self.file, some, offset))?
            };
            if written == 0 && !first.is_empty() {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            skip += written;
            while let Some(first) = left.first()
                && skip >= first.len()
            {
                skip -= first.len();
                left = &left[1..];
            }
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        let len = self.bytes()?;
        if len >= bytes {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can reserve space; the length alone serves there.
            Err(Errno::OPNOTSUPP) => self.file.set_len(bytes),
            other => Ok(other?),
        }
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        if direct::fits(offset, slices)
            && let Some(done) = self.directly(|file| self.gather.write_at(file, offset, slices))
        {
            return done;
        }
        self.write_cached(offset, slices)
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        if len >= direct::READ_BYTES_MIN
            && let Some(done) =
                self.directly(|file| direct::read_at(&self.memory, file, offset, len))
        {
            return done;
        }
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            let at = offset + out.len() as u64;
            if retry(|| rustix::io::pread(&self.file, spare_capacity(&mut out), at))? == 0 {
                break;
            }
        }
        out.truncate(len);
        Ok(Bytes::from(out))
    }

    fn read_many(&self, ranges: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
        let bytes: usize = ranges.iter().map(|&(_, len)| len).sum();
        if bytes >= direct::READ_BYTES_MIN
            && let Some(done) = self.directly(|file| direct::read_many(&self.memory, file, ranges))
        {
            return done;
        }
        one_by_one(self, ranges)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use tidemark_direct::ALIGN;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Whatever the slices, aligned or not, the file holds their bytes.
        #[test]
        fn any_slices_are_written(
            lens in prop::collection::vec(prop_oneof![0..5_000_usize, 1_000_000..1_200_000_usize], 1..6),
            block in 0..3_u64, cut in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let disk = FileDisk::open(folder.path()).unwrap();
            let file = disk.create("f", 8 << 20).unwrap();
            let mut bytes: Vec<u8> = Vec::new();
            for len in &lens {
                bytes.extend((0_u8..=250).cycle().take(*len));
            }
            if cut {
                bytes.truncate(bytes.len() / ALIGN * ALIGN);
            }
            let mut slices = Vec::new();
            let mut rest = &bytes[..];
            for len in lens {
                let (now, later) = rest.split_at(len.min(rest.len()));
                slices.push(IoSlice::new(now));
                rest = later;
            }
            let offset = block * ALIGN as u64;
            file.write_at(offset, &slices).unwrap();
            file.sync().unwrap();
            let read = file.read_at(offset, bytes.len()).unwrap();
            prop_assert!(read == bytes);
        }
    }

    #[test]
    fn any_stretch_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let file = disk.create("f", 1 << 20).unwrap();
        let bytes: Vec<u8> = (0_u8..=250).cycle().take(1 << 20).collect();
        file.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
        // From within a block and to within one, to the end, past it, and small enough for the cache.
        for (at, len) in [
            (0, 1 << 20),
            (1, 100_000),
            (70_000, 65_537),
            (900_000, 1 << 20),
            (5 << 20, 100_000),
            (33, 4096),
        ] {
            let read = file.read_at(at, len).unwrap();
            let from = usize::try_from(at).unwrap().min(bytes.len());
            assert!(read == bytes[from..bytes.len().min(from + len)], "{at}");
        }
        // Many at once, large ones and mixed ones.
        for ranges in [
            &[(1, 100_000), (70_000, 65_537), (900_000, 1 << 20)][..],
            &[(1, 100_000), (33, 4096)],
            &[(1, 5), (33, 4096)],
            &[],
        ] {
            let read = file.read_many(ranges).unwrap();
            let each = ranges.iter().map(|&(at, len)| file.read_at(at, len));
            assert_eq!(read, each.collect::<io::Result<Vec<_>>>().unwrap());
        }
    }
}
