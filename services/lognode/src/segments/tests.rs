//! What is written ahead of blocks.

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;

const AHEAD: u64 = AHEAD_BYTES as u64;

/// Remembers the ranges that were written.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<(u64, u64)>>);

impl DiskFile for Recorder {
    fn bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn grow(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let bytes: usize = slices.iter().map(|s| s.len()).sum();
        assert!(slices.iter().all(|s| s.iter().all(|b| *b == 0)));
        self.0.lock().push((offset, offset + bytes as u64));
        Ok(())
    }

    fn read_at(&self, _: u64, _: usize) -> io::Result<Bytes> {
        Ok(Bytes::new())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn slot(bytes: u64) -> (Arc<Recorder>, Slot) {
    let file = Arc::new(Recorder::default());
    let segment_file = SegmentFile {
        name: Arc::from("f"),
        file: Arc::clone(&file) as Arc<dyn DiskFile>,
    };
    let slot = Slot {
        segment_file,
        bytes,
        written: BLOCK_ALIGN,
    };
    (file, slot)
}

#[test]
fn small_blocks_overwrite_what_was_written_and_nothing_else_is_touched() {
    for bytes in [64 << 20, 256 << 10] {
        let (file, mut slot) = slot(bytes);
        let mut at = BLOCK_ALIGN;
        while at < bytes {
            let seen = file.0.lock().len();
            slot.write_ahead(at, BLOCK_ALIGN).unwrap();
            let zeros = &file.0.lock()[seen..];
            assert!(zeros.iter().all(|(from, to)| *from >= at && *to <= bytes));
            assert!(slot.written >= at + BLOCK_ALIGN);
            at += BLOCK_ALIGN;
        }
        // Every byte once, in pieces that several blocks fit.
        let zeros = file.0.lock();
        let total: u64 = zeros.iter().map(|(from, to)| to - from).sum();
        assert_eq!(total, bytes - BLOCK_ALIGN);
        let piece = AHEAD.min(bytes / AHEAD_PART);
        assert!(zeros.len() as u64 <= bytes.div_ceil(piece));
    }
}

#[test]
fn nothing_is_written_ahead_of_large_blocks_nor_twice() {
    let (file, mut slot) = slot(64 << 20);
    slot.write_ahead(BLOCK_ALIGN, 64 << 10).unwrap();
    assert!(file.0.lock().is_empty());
    slot.written = 1 << 20;
    slot.write_ahead((1 << 20) - BLOCK_ALIGN, BLOCK_ALIGN)
        .unwrap();
    assert!(file.0.lock().is_empty());
    slot.write_ahead(1 << 20, BLOCK_ALIGN).unwrap();
    assert_eq!(*file.0.lock(), [(1 << 20, (1 << 20) + AHEAD)]);
}
