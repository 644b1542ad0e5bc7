//! Gathers a block and writes it.

use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;

use super::{BLOCK_ALIGN, BlockHeader, ENTRY_BYTES, Entry, HEADER_BYTES, aligned, crc32c, len_u32};
use crate::disk::DiskFile;

/// Chunks up to this size are copied together: cheaper than a slice of their own in the system call.
const COPY_BYTES_MAX: usize = 2048;
static ZEROS: [u8; 4096] = [0; 4096];
const _: () = assert!(ZEROS.len() as u64 == BLOCK_ALIGN);

/// A block that is being gathered. Payload is shared, never copied.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    table: Vec<u8>,
    entries: Vec<Entry>,
    copied: Vec<u8>,
    bodies: Vec<Body>,
    body_bytes: usize,
}

#[derive(Debug)]
enum Body {
    Copied(Range<usize>),
    Shared(Bytes),
}

impl BlockBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of the block if `entries` entries with `body_bytes` of bodies were added.
    pub(crate) fn bytes_with(&self, entries: usize, body_bytes: usize) -> u64 {
        let table = (self.entries.len() + entries) * ENTRY_BYTES;
        aligned((HEADER_BYTES + table + self.body_bytes + body_bytes) as u64)
    }

    /// Adds an entry and its body.
    pub(crate) fn push<'a>(&mut self, entry: Entry, body: impl IntoIterator<Item = &'a Bytes>) {
        entry.encode(&mut self.table);
        self.entries.push(entry);
        self.body_bytes += entry.bytes as usize;
        for chunk in body {
            if chunk.len() > COPY_BYTES_MAX {
                self.bodies.push(Body::Shared(chunk.clone()));
                continue;
            }
            let from = self.copied.len();
            self.copied.extend_from_slice(chunk);
            match self.bodies.last_mut() {
                Some(Body::Copied(range)) => range.end = self.copied.len(),
                _ => self.bodies.push(Body::Copied(from..self.copied.len())),
            }
        }
    }

    /// Writes the block where `header` says; its lengths and CRCs are filled in. Gives the block's bytes.
    pub(crate) fn write(&self, file: &dyn DiskFile, header: BlockHeader) -> io::Result<u64> {
        let block_bytes = self.bytes_with(0, 0);
        let header = BlockHeader {
            block_bytes: u32::try_from(block_bytes).expect("bounded by the segment's size"),
            body_bytes: len_u32(self.body_bytes),
            entries: len_u32(self.entries.len()),
            table_crc: crc32c(&self.table),
            ..header
        };
        let mut head = Vec::with_capacity(HEADER_BYTES + self.table.len());
        header.encode(&mut head);
        head.extend_from_slice(&self.table);
        let padding = block_bytes - (head.len() + self.body_bytes) as u64;
        let padding = usize::try_from(padding).expect("less than a page");
        let mut slices = Vec::with_capacity(self.bodies.len() + 2);
        slices.push(IoSlice::new(&head));
        slices.extend(self.bodies.iter().map(|body| match body {
            Body::Copied(range) => IoSlice::new(&self.copied[range.clone()]),
            Body::Shared(bytes) => IoSlice::new(bytes),
        }));
        slices.push(IoSlice::new(&ZEROS[..padding]));
        file.write_at(header.at.offset, &slices)?;
        Ok(block_bytes)
    }
}
