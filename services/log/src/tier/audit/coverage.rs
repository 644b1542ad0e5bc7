//! What is readable is covered once: by LSN in the journal and the objects of all partitions, by offset in the objects of each
//! partition. Reads the rows of one moment, and the indexes of what they name.

use std::collections::BTreeMap;

use tidemark_meta::keys::cold::Level0Key;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::{MetaError, MetaStore, Mode, keys};
use tidemark_segment::Index;
use tidemark_types::{Lsn, Offset, PartitionId, ShardId};

use super::read::{self, Row};
use super::{AuditError, Auditor, Finding, READS, Uncovered};
use crate::tier::objects::object_key;
use crate::tier::rows::{self, Level0, Rows, every};

/// Rows are read again when they changed under the check, so often.
const TRIES: usize = 5;
/// Findings of one shard that are told; the others are counted.
const FOUND_MAX: usize = 1_000;

/// Checks a shard and gives the rows it went by.
pub(super) async fn check(auditor: &mut Auditor<'_>, shard: ShardId) -> Result<Rows, AuditError> {
    for _ in 1..TRIES {
        let (rows, found) = look(auditor, shard).await?;
        if let Some((found, omitted)) = found {
            auditor.totals.omitted += omitted;
            for uncovered in found {
                auditor.found(Finding::Uncovered(uncovered)).await?;
            }
            return Ok(rows);
        }
    }
    auditor.totals.unchecked += 1;
    Ok(view(auditor.meta, shard).await?.0)
}

/// The rows of one moment, and what is wrong with them: the first findings, and how many more. `None` when some of their
/// objects are gone since.
async fn look(
    auditor: &mut Auditor<'_>,
    shard: ShardId,
) -> Result<(Rows, Option<(Vec<Uncovered>, u64)>), AuditError> {
    let (rows, extents) = view(auditor.meta, shard).await?;
    let mut pass = Pass {
        auditor,
        shard,
        ends: BTreeMap::new(),
        found: Vec::new(),
        omitted: 0,
    };
    pass.journal(&extents, rows.tiered);
    pass.state(&rows);
    pass.level1(&rows).await?;
    let stayed = pass.level0(&rows).await?;
    pass.committed();
    let found = (pass.found, pass.omitted);
    Ok((rows, stayed.then_some(found)))
}

async fn view(
    meta: &dyn MetaStore,
    shard: ShardId,
) -> Result<(Rows, Vec<(ExtentKey, ExtentRow)>), MetaError> {
    let mut tries = 1;
    loop {
        let mut tx = meta.begin();
        let read = async {
            let rows = rows::load_in(tx.as_mut(), shard).await?;
            let extents = every(tx.as_mut(), ExtentKey::of_shard(shard)).await?;
            Ok((rows, extents))
        };
        match read.await {
            Err(MetaError::TooOld) if tries < TRIES => tries += 1,
            decided => return decided,
        }
    }
}

/// One look at a shard.
struct Pass<'a, 'r> {
    auditor: &'a mut Auditor<'r>,
    shard: ShardId,
    /// Where what was seen of each partition ends.
    ends: BTreeMap<PartitionId, Offset>,
    found: Vec<Uncovered>,
    omitted: u64,
}

impl Pass<'_, '_> {
    /// The retained extents follow one another, from what is tiered on: of what was tiered some may be gone (ADR 0012).
    fn journal(&mut self, extents: &[(ExtentKey, ExtentRow)], tiered: Lsn) {
        let mut next = Lsn(0);
        for (key, row) in extents {
            if row.first < next || row.first > next.max(tiered) {
                let (index, first) = (key.index, row.first);
                self.uncovered(format!(
                    "extent {index} begins at lsn {first}, but the one before it ends at {next}, and {tiered} is what is tiered"
                ));
            }
            if let ExtentState::Sealed(end) = row.state {
                next = end;
            }
        }
    }

    fn state(&mut self, rows: &Rows) {
        let tiered = rows.tiered;
        if let Some(row) = rows.state.filter(|row| row.lsn > tiered) {
            let lsn = row.lsn;
            self.uncovered(format!(
                "the state object is of lsn {lsn}, tiered is {tiered}"
            ));
        }
    }

    async fn level1(&mut self, rows: &Rows) -> Result<(), AuditError> {
        for (partition, own) in rows.level1.iter() {
            for segment in own.iter() {
                self.covers(*partition, segment.row.base, segment.end)
                    .await?;
            }
        }
        Ok(())
    }

    /// `false`: the service took an object out of the log before its index was read, so the rows have changed.
    async fn level0(&mut self, rows: &Rows) -> Result<bool, AuditError> {
        let mut end = Lsn(0);
        for segment in &rows.segments {
            if segment.row.first < end || segment.end > rows.tiered {
                let (first, last) = (segment.row.first, segment.end);
                self.uncovered(format!(
                    "object {} has lsn {first} to {last}, but {end} is where the one before it ends and {} what is tiered",
                    segment.row.object, rows.tiered
                ));
            }
            end = segment.end;
            let index = match self.index(segment).await? {
                Read::Index(index) => index,
                // It is named when its content is read.
                Read::Bad => continue,
                Read::TakenOut => return Ok(false),
            };
            for part in index.partitions() {
                // What compaction already took over lies in the partition's own objects.
                let own = rows.own_end(part.id());
                if part.end() > own {
                    let base = part.base().max(own);
                    self.covers(part.id(), base, part.end()).await?;
                }
            }
        }
        Ok(true)
    }

    async fn index(&mut self, segment: &Level0) -> Result<Read, AuditError> {
        let object = segment.row.object;
        let key = object_key(object)?;
        for _ in 0..READS {
            match read::index(self.auditor, &key, segment.into()).await {
                Ok(index) => return Ok(Read::Index(Box::new(index))),
                Err(error) => error.complaint()?,
            };
            let (shard, end) = (self.shard, segment.end);
            let row = Row::Shared(Level0Key { shard, end });
            if !row.names(self.auditor.meta, object).await? {
                return Ok(Read::TakenOut);
            }
        }
        Ok(Read::Bad)
    }

    /// Notes a piece of a partition. What lies below where the partition begins may be gone; that only rises, so it may be
    /// read after the rows.
    async fn covers(
        &mut self,
        partition: PartitionId,
        base: Offset,
        end: Offset,
    ) -> Result<(), AuditError> {
        let before = self.ends.insert(partition, end);
        if before == Some(base) {
            return Ok(());
        }
        let mut tx = self.auditor.meta.begin();
        let row = keys::get(tx.as_mut(), &PartitionKey(partition), Mode::Snapshot).await?;
        // A deleted topic's objects are on their way out.
        let Some(log_start) = row.map(|row| row.log_start) else {
            return Ok(());
        };
        let due = before.unwrap_or(log_start).max(log_start);
        if base > due {
            self.uncovered(format!(
                "partition {partition}: offsets {due} to {base} are in no object"
            ));
        } else if before.is_some_and(|before| base < before) {
            self.uncovered(format!(
                "partition {partition}: offsets {base} to {due} are in two objects"
            ));
        }
        Ok(())
    }

    /// No object holds what was not committed: the owner's high watermarks, read after the rows, only rise.
    fn committed(&mut self) {
        let ends = std::mem::take(&mut self.ends);
        for (partition, end) in ends {
            let committed = (self.auditor.ends)(self.shard, partition);
            if let Some(committed) = committed.filter(|committed| *committed < end) {
                self.uncovered(format!(
                    "partition {partition}: objects hold offsets up to {end}, the log ends at {committed}"
                ));
            }
        }
    }

    fn uncovered(&mut self, why: String) {
        let shard = self.shard;
        if self.found.len() < FOUND_MAX {
            self.found.push(Uncovered { shard, why });
        } else {
            self.omitted += 1;
        }
    }
}

/// What became of reading an index.
enum Read {
    Index(Box<Index>),
    /// A row names the object, and it cannot be read.
    Bad,
    /// No row names it any more.
    TakenOut,
}
