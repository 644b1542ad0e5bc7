//! What a read has gathered, and what memory it holds by that.

use tidemark_direct::ALIGN;
use tidemark_journal::{Frame, read_memory_bytes_max};
use tidemark_types::Lsn;

use crate::format::Position;

/// What aligning a read's memory may take beside it, bytes: a part of a page at either end, and one for where it begins.
const READ_SLACK_BYTES: usize = 3 * ALIGN;

/// Frames gathered so far.
pub(super) struct Gathered {
    pub(super) frames: Vec<Frame>,
    pub(super) bytes: usize,
    pub(super) next: Lsn,
    buffer: Buffer,
}

/// The memory of the newest frames.
#[derive(Clone, Copy)]
struct Buffer {
    /// Which stretch of which segment was read into it; two in a row are never the same.
    at: Option<Position>,
    bytes: usize,
    /// Its first frame, and the bytes of its frames.
    first: usize,
    used: usize,
}

impl Gathered {
    /// Nothing yet; `next` is what comes first.
    pub(super) const fn from(next: Lsn) -> Self {
        Self {
            frames: Vec::new(),
            bytes: 0,
            next,
            buffer: Buffer {
                at: None,
                bytes: 0,
                first: 0,
                used: 0,
            },
        }
    }

    /// Takes a frame out of the memory read at `at`.
    pub(super) fn push(&mut self, frame: Frame, at: Position, memory: usize) {
        if self.buffer.at != Some(at) {
            self.settle();
            self.buffer = Buffer {
                at: Some(at),
                bytes: memory + READ_SLACK_BYTES,
                first: self.frames.len(),
                used: 0,
            };
        }
        let bytes = frame.encoded_len();
        self.next = frame.lsn.next();
        self.bytes += bytes;
        self.buffer.used += bytes;
        self.frames.push(frame);
    }

    /// Gives memory free that is mostly not frames of this read: other shards' lie between them.
    pub(super) fn settle(&mut self) {
        let Buffer {
            bytes, first, used, ..
        } = self.buffer;
        if bytes > read_memory_bytes_max(used) {
            for frame in &mut self.frames[first..] {
                *frame = frame.copied();
            }
        }
    }
}
