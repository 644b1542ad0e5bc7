//! The disk's identity: the node's id and the secret that its blocks carry.

use std::io::{self, IoSlice};

use bytes::BufMut;
use tidemark_runtime::Entropy;
use tidemark_types::{NodeId, Reader};

use super::{VERSION, crc32c};
use crate::OpenError;
use crate::disk::Disk;

/// The file's name.
const NAME: &str = "cookie";
const MAGIC: u32 = 0x7464_636b;
const BYTES: usize = 28;

/// Magic `tdck` 4, version 2, zero 2, node id 8, secret 8, CRC32C of all before 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cookie {
    pub(crate) node: NodeId,
    pub(crate) secret: u64,
}

impl Cookie {
    /// Reads the disk's cookie; `None` when it has none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let file = format!("{}/{NAME}", disk.folder());
        let bytes = match disk.open(NAME).and_then(|f| f.read_at(0, BYTES + 1)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(OpenError::io(format!("read {file}"))(e)),
        };
        Self::decode(&bytes, file).map(Some)
    }

    /// Makes a cookie and makes it durable. The disk is a new node from here on.
    pub(crate) fn create(disk: &dyn Disk, entropy: &Entropy) -> Result<Self, OpenError> {
        let node = NodeId(entropy.next_u64());
        let secret = entropy.next_u64();
        let cookie = Self { node, secret };
        let temporary = "cookie.new";
        let write = || {
            if disk.list()?.iter().any(|name| name == temporary) {
                disk.remove(temporary)?;
            }
            let file = disk.create(temporary, 0)?;
            file.write_at(0, &[IoSlice::new(&cookie.encode())])?;
            file.sync()?;
            disk.rename(temporary, NAME)?;
            disk.sync_dir()
        };
        write().map_err(OpenError::io(format!("write {}/{NAME}", disk.folder())))?;
        Ok(cookie)
    }

    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.put_u32(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u64(self.node.0);
        out.put_u64(self.secret);
        let crc = crc32c(&out);
        out.put_u32(crc);
        out
    }

    fn decode(bytes: &[u8], file: String) -> Result<Self, OpenError> {
        let bad = |why: &str| OpenError::BadCookie {
            file: file.clone(),
            why: why.to_owned(),
        };
        if bytes.len() != BYTES || bytes[..4] != MAGIC.to_be_bytes() {
            return Err(bad("it is not a disk cookie"));
        }
        let (covered, crc) = bytes.split_at(BYTES - 4);
        if crc != crc32c(covered).to_be_bytes() {
            return Err(bad("it fails its crc"));
        }
        let version = u16::from_be_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            let known = VERSION;
            return Err(OpenError::UnknownFormat {
                file,
                version,
                known,
            });
        }
        let mut r = Reader::new(&covered[8..]);
        let read = || -> Result<Self, tidemark_types::DecodeError> {
            let node = NodeId(r.u64("cookie node")?);
            let secret = r.u64("cookie secret")?;
            Ok(Self { node, secret })
        };
        let mut read = read;
        read().map_err(|e| bad(&e.to_string()))
    }
}
