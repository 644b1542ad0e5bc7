//! From a disk to a writer: identity, recovery, and the first durable word of this life.

use std::sync::Arc;

use parking_lot::RwLock;
use tidemark_runtime::{Entropy, Tasks};
use tidemark_types::NodeId;

use crate::config::LogNodeConfig;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::{
    BlockBuilder, BlockHeader, BlockKind, Checkpoint, Cookie, Entry, EntryKind, Position,
};
use crate::prepare::Preparer;
use crate::recover::{Depth, Recovered, recover};
use crate::segments::{Pool, Slot, prepare};
use crate::state::State;
use crate::stats::Counters;
use crate::survey::unfinished;
use crate::suspect;
use crate::view::{Durable, View};
use crate::wal::{Active, Trouble, Wal, write_block};

/// Files of a lost cookie are kept under this prefix: this node never reads them, an operator may.
const ASIDE: &str = "aside-";

/// Recovers the disk and gives its writer. What it accepted is synced and marked before this returns: the
/// process before may have died between a write and its sync, and an inventory must not rest on that.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    config: LogNodeConfig,
    entropy: &Entropy,
    tasks: &Tasks,
) -> Result<(NodeId, Wal), OpenError> {
    let folder = disk.folder();
    let cookie = match Cookie::read(&*disk)? {
        Some(cookie) => cookie,
        None => Cookie::create(&*disk, entropy)?,
    };
    let suspect =
        suspect::found(&*disk).map_err(OpenError::io(format!("read {folder}/suspect")))?;
    if let Some(why) = &suspect {
        tracing::warn!(
            "log node in {folder}: the disk failed before this start ({why}); recovering from the disk alone, without the page cache"
        );
    }
    let tidy = || {
        for name in unfinished(&*disk)? {
            disk.remove(&name)?;
        }
        disk.sync_dir()
    };
    tidy().map_err(OpenError::io(format!("tidy {folder}")))?;
    let mut found = recover(
        &*disk,
        cookie.secret,
        Depth::Newest(config.open_verify_bytes_max),
    )?;
    report(&folder, &found);
    set_aside(&*disk, &found.foreign).map_err(OpenError::io(format!("tidy {folder}")))?;
    let counters = Arc::new(Counters::default());
    let active = match found.active.take() {
        Some((slot, at)) => resume(&*disk, slot, at)?,
        None => begin(&*disk, &config, cookie.secret, &mut found, &counters)?,
    };
    let mut files = found.files;
    files.insert(active.at.segment, active.slot.segment_file.clone());
    let durable = Durable {
        state: found.state,
        files,
        poison: None,
    };
    let view = View {
        secret: cookie.secret,
        durable: RwLock::new(durable),
    };
    let preparer = Preparer::new(&disk, tasks)
        .map_err(OpenError::io("start the thread that prepares segments"))?;
    let mut wal = Wal {
        disk,
        config,
        view: Arc::new(view),
        counters,
        pool: found.pool,
        active,
        sequence: found.sequence,
        preparer,
        mark_refused: false,
        told: false,
    };
    wal.settle();
    if let Some(why) = wal.poisoned() {
        let source = std::io::Error::other(why);
        let what = format!("write to {folder}");
        return Err(OpenError::Io { what, source });
    }
    if suspect.is_some() {
        suspect::clear(&*wal.disk).map_err(OpenError::io(format!("tidy {folder}")))?;
        tracing::info!("log node in {folder}: recovered and synced again, no longer suspect");
    }
    Ok((cookie.node, wal))
}

fn report(folder: &str, found: &Recovered) {
    for range in &found.damage {
        tracing::error!("log node in {folder}: {range}");
    }
    if found.unverified_bytes > 0 {
        tracing::info!(
            "log node in {folder}: {} bytes of the newest extents are beyond the budget of the check at start; reads check them",
            found.unverified_bytes
        );
    }
    for name in &found.foreign {
        tracing::warn!(
            "log node in {folder}: {name} was written under another disk cookie; kept as {ASIDE}{name}, not used"
        );
    }
}

fn set_aside(disk: &dyn Disk, names: &[String]) -> std::io::Result<()> {
    for name in names {
        disk.rename(name, &format!("{ASIDE}{name}"))?;
    }
    if names.is_empty() {
        return Ok(());
    }
    disk.sync_dir()
}

fn resume(disk: &dyn Disk, slot: Slot, at: Position) -> Result<Active, OpenError> {
    let name = &slot.segment_file.name;
    slot.segment_file.file.sync().map_err(|error| {
        let what = format!("sync {name}");
        suspect::leave(disk, &format!("{what}: {error}"));
        OpenError::io(what)(error)
    })?;
    Ok(Active {
        slot,
        at,
        unmarked: true,
    })
}

/// The first segment of an empty disk.
fn begin(
    disk: &dyn Disk,
    config: &LogNodeConfig,
    secret: u64,
    found: &mut Recovered,
    counters: &Counters,
) -> Result<Active, OpenError> {
    let pool: &mut Pool = &mut found.pool;
    let slot = match pool.free.pop() {
        Some(slot) => slot,
        None => {
            let name = pool.name_next();
            prepare(disk, &name, config.segment_bytes, secret)
                .map_err(OpenError::io(format!("make {name}")))?
        }
    };
    let body = Checkpoint::encode(&State::default(), &[]);
    let mut block = BlockBuilder::default();
    block.push(Entry::of_node(EntryKind::Checkpoint, &body), [&body.into()]);
    let segment = pool.next_segment;
    pool.next_segment += 1;
    found.sequence += 1;
    let header = BlockHeader {
        kind: BlockKind::First,
        secret,
        at: Position { segment, offset: 0 },
        sequence: found.sequence,
        synced: Position::default(),
        block_bytes: 0,
        body_bytes: 0,
        entries: 0,
        table_crc: 0,
    };
    let offset = write_block(&slot, header, &block, counters).map_err(|trouble| {
        let why = match trouble {
            Trouble::Full => "the disk is full".to_owned(),
            Trouble::Failed(why) => why,
        };
        OpenError::io("write the first segment")(std::io::Error::other(why))
    })?;
    Ok(Active {
        slot,
        at: Position { segment, offset },
        unmarked: false,
    })
}
