//! Checks what a node holds, of a stopped service or beside a running one. Repairs nothing.
//!
//! # Consistency
//! The metadata folder is one process's: opened, it says that the service is stopped and keeps it so until the
//! check is done, every extent's row is held against the WAL, and the rows of cold segments against the object store.
//! Beside a running service only the WAL is checked. A segment that is recycled under the check looks damaged, so damage counts if it is found each time.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_journal::{ExtentId, ExtentInfo, Inventory};
use tidemark_log::audit;
pub use tidemark_log::{Audit, BadObject, Orphan, Uncovered};
use tidemark_lognode::LogNode;
pub use tidemark_lognode::{Damage, Report};
use tidemark_meta::embedded::{Embedded, OpenError};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::{self, Key, Tag, prefix_range};
use tidemark_meta::{MetaError, MetaStore, Mode};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{ExtentIdx, NodeId};

use super::{StartError, objects};
use crate::config::{MetaEngine, Settings};

/// Rows read per transaction.
const PAGE: usize = 500;
/// A put whose outcome was unknown may land this much later, ms.
const PUT_MS_MAX: u128 = 3_600_000;
/// Checks of a running node's WAL before damage is believed.
const TRIES: usize = 3;

/// What a check found.
#[derive(Debug)]
pub struct Fsck {
    /// The write-ahead log's folder.
    pub folder: String,
    /// What the WAL holds and what of it is damaged.
    pub wal: Report,
    /// Whether the metadata was held against it.
    pub metadata: Checked,
    /// Extents whose rows promise more than the WAL holds.
    pub missing: Vec<Missing>,
    /// Extents in the WAL that no row names; empty when the metadata was not checked.
    pub unreferenced: Vec<ExtentId>,
    /// The object store against the metadata; `None` when that was not checked.
    pub cold: Option<Audit>,
}

/// Whether the metadata was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checked {
    /// This many extents' rows were.
    Rows(usize),
    /// They were not, for this reason.
    No(String),
}

/// An extent that is not there as its row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// The extent.
    pub extent: ExtentId,
    /// What its row says and the WAL does not hold.
    pub why: String,
}

impl Fsck {
    /// Whether everything that was checked is whole.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let wal = self.wal.damage.is_empty() && self.damaged().next().is_none();
        wal && self.missing.is_empty() && self.cold.as_ref().is_none_or(Audit::is_sound)
    }

    /// The extents that cannot be read to their end.
    pub fn damaged(&self) -> impl Iterator<Item = &ExtentInfo> {
        self.wal.extents.iter().filter(|info| is_limbo(info))
    }
}

/// Checks every frame of the node's WAL, and when the service is stopped every extent's row and every object of the log.
///
/// # Errors
/// When there is no log node in the data folder, or its files, its metadata or the object store cannot be read.
pub async fn fsck(settings: &Settings) -> Result<Fsck, StartError> {
    let tasks = Tasks::new();
    let opened = open_metadata(settings, &tasks)?;
    let folder = settings.node.data_dir.join("wal");
    let tries = if opened.is_ok() { 1 } else { TRIES };
    let checked = folder.clone();
    let wal = Tasks::spawn_blocking(move || {
        persistent(tries, || LogNode::verify(&checked).map_err(StartError::of))
    })
    .await?;
    let mut found = Fsck {
        folder: folder.display().to_string(),
        wal,
        metadata: Checked::Rows(0),
        missing: Vec::new(),
        unreferenced: Vec::new(),
        cold: None,
    };
    match opened {
        Ok(store) => {
            let rows = rows(&store).await.map_err(StartError::of)?;
            compare(&mut found, &rows);
            found.cold = Some(cold(settings, &store, &tasks).await?);
        }
        Err(why) => found.metadata = Checked::No(why),
    }
    tasks
        .shutdown(std::time::Duration::from_secs(10))
        .await
        .map_err(StartError::of)?;
    Ok(found)
}

/// Holds the object store against the metadata.
async fn cold(
    settings: &Settings,
    store: &dyn MetaStore,
    tasks: &Tasks,
) -> Result<Audit, StartError> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let blob = objects::open(settings, (&clock, &entropy), tasks)
        .await?
        .store;
    let grace_ms = settings.cold.grace.0.as_millis().saturating_add(PUT_MS_MAX);
    let grace_ms = i64::try_from(grace_ms).unwrap_or(i64::MAX);
    let before_ms = clock.wall_ms().saturating_sub(grace_ms);
    let audited = audit(store, blob.as_ref(), before_ms).await;
    audited.map_err(StartError::of)
}

/// The metadata of a stopped service, or why it cannot be looked at.
fn open_metadata(
    settings: &Settings,
    tasks: &Tasks,
) -> Result<Result<Embedded, String>, StartError> {
    if settings.meta.engine != MetaEngine::Embedded {
        return Ok(Err("it is not in the data folder".to_owned()));
    }
    let folder = settings.node.data_dir.join("meta");
    if !folder.is_dir() {
        return Ok(Err(format!("there is no {}", folder.display())));
    }
    match Embedded::open(&folder, &Clock::system(), tasks) {
        Ok(store) => Ok(Ok(store)),
        Err(OpenError::InUse { .. }) => Ok(Err("the service is running".to_owned())),
        Err(other) => Err(StartError::of(other)),
    }
}

/// The last of several checks, with the damage that all of them found.
fn persistent<E>(tries: usize, mut check: impl FnMut() -> Result<Report, E>) -> Result<Report, E> {
    let mut found = check()?;
    for _ in 1..tries {
        if found.damage.is_empty() && !found.extents.iter().any(is_limbo) {
            break;
        }
        let mut again = check()?;
        again.damage.retain(|damage| found.damage.contains(damage));
        for info in &mut again.extents {
            let before = found.extents.iter().find(|i| i.extent == info.extent);
            if let Some(whole) = before.filter(|i| !is_limbo(i)) {
                info.inventory = whole.inventory.clone();
            }
        }
        found = again;
    }
    Ok(found)
}

fn is_limbo(info: &ExtentInfo) -> bool {
    matches!(info.inventory, Inventory::Limbo { .. })
}

async fn rows(store: &dyn MetaStore) -> Result<Vec<(ExtentKey, ExtentRow)>, MetaError> {
    let mut range = prefix_range(&[Tag::Extent as u8]);
    let mut found: Vec<(ExtentKey, ExtentRow)> = Vec::new();
    loop {
        let mut tx = store.begin();
        let page = keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Serializable).await?;
        let full = page.len() == PAGE;
        found.extend(page);
        let Some((last, _)) = found.last().filter(|_| full) else {
            return Ok(found);
        };
        let index = ExtentIdx(last.index.0 + 1);
        range.begin = ExtentKey { index, ..*last }.encode();
    }
}

fn compare(found: &mut Fsck, rows: &[(ExtentKey, ExtentRow)]) {
    let node = found.wal.node;
    found.metadata = Checked::Rows(rows.len());
    let held: BTreeMap<ExtentId, &Inventory> = found
        .wal
        .extents
        .iter()
        .map(|info| (info.extent, &info.inventory))
        .collect();
    let missing = rows.iter().filter_map(|(key, row)| {
        let extent = id(key);
        let why = lacking(node, row, held.get(&extent).copied())?;
        Some(Missing { extent, why })
    });
    found.missing = missing.collect();
    let named: BTreeSet<ExtentId> = rows.iter().map(|(key, _)| id(key)).collect();
    let unnamed = held.keys().filter(|extent| !named.contains(extent));
    found.unreferenced = unnamed.copied().collect();
}

fn id(key: &ExtentKey) -> ExtentId {
    ExtentId {
        shard: key.shard,
        index: key.index,
    }
}

/// What of an extent's row this node's WAL lacks. An open extent may be absent: its row is stored before the
/// node is asked to open it. What an operator gave up is not missing.
fn lacking(node: NodeId, row: &ExtentRow, held: Option<&Inventory>) -> Option<String> {
    let ExtentState::Sealed(end) = row.state else {
        return None;
    };
    let promised = row.lost.as_ref().map_or(end, |lost| lost.from.min(end));
    if !row.replicas.contains(&node) || row.first >= promised {
        return None;
    }
    let sealed = format!("sealed from lsn {} to {end}", row.first);
    match held {
        None | Some(Inventory::Absent) => Some(format!("{sealed}, but the WAL does not hold it")),
        Some(Inventory::Held { first, end: held }) => {
            let covered = *first <= row.first && *held >= promised;
            (!covered).then(|| format!("{sealed}, but the WAL holds it from {first} to {held}"))
        }
        Some(Inventory::Limbo { from, .. }) => (*from < promised)
            .then(|| format!("{sealed}, but the WAL is damaged from lsn {from} on")),
    }
}

#[cfg(test)]
mod tests {
    use tidemark_meta::keys::extent::LostRange;
    use tidemark_types::{Epoch, Lsn, ShardId};

    use super::*;

    const NODE: NodeId = NodeId(7);

    fn row(state: ExtentState) -> ExtentRow {
        ExtentRow {
            first: Lsn(10),
            state,
            replicas: vec![NODE],
            ack_quorum: 1,
            writer_epoch: Epoch(1),
            ckpt: false,
            lost: None,
        }
    }

    fn held(first: u64, end: u64) -> Inventory {
        Inventory::Held {
            first: Lsn(first),
            end: Lsn(end),
        }
    }

    fn limbo(from: u64) -> Inventory {
        let why = "a bad block".to_owned();
        Inventory::Limbo {
            from: Lsn(from),
            why,
        }
    }

    #[test]
    fn a_sealed_row_must_be_covered_and_an_open_one_need_not() {
        let sealed = row(ExtentState::Sealed(Lsn(20)));
        let lacks =
            |row: &ExtentRow, held: Option<Inventory>| lacking(NODE, row, held.as_ref()).is_some();
        assert!(!lacks(&sealed, Some(held(10, 20))));
        assert!(!lacks(&sealed, Some(held(10, 25))), "more than sealed");
        assert!(lacks(&sealed, Some(held(10, 19))));
        assert!(lacks(&sealed, Some(held(11, 20))));
        assert!(lacks(&sealed, None));
        assert!(lacks(&sealed, Some(limbo(19))));
        assert!(!lacks(&sealed, Some(limbo(20))), "damaged beyond the seal");
        assert!(!lacks(&row(ExtentState::Open), None));
        assert!(!lacks(&row(ExtentState::Sealed(Lsn(10))), None), "empty");
        let elsewhere = ExtentRow {
            replicas: vec![NodeId(8)],
            ..sealed.clone()
        };
        assert!(!lacks(&elsewhere, None));
        let lost = LostRange {
            from: Lsn(15),
            to: None,
            why: "given up".to_owned(),
        };
        let given_up = ExtentRow {
            lost: Some(lost),
            ..sealed
        };
        assert!(!lacks(&given_up, Some(limbo(15))));
        assert!(lacks(&given_up, Some(limbo(14))));
    }

    #[test]
    fn damage_beside_a_writer_counts_only_when_it_stays() {
        let damage = |from| Damage {
            file: "wal-000001".to_owned(),
            from,
            to: from + 1,
            why: "no intact block".to_owned(),
        };
        let extent = ExtentId {
            shard: ShardId(0),
            index: ExtentIdx(0),
        };
        let report = |froms: &[u64], inventory| Report {
            node: NODE,
            extents: vec![ExtentInfo {
                extent,
                inventory,
                bytes: 1,
            }],
            fences: Vec::new(),
            segments: (1, 0),
            damage: froms.iter().map(|from| damage(*from)).collect(),
            foreign: Vec::new(),
        };
        let run = |reports: Vec<Report>| {
            let mut reports = reports.into_iter();
            persistent(TRIES, || reports.next().ok_or(())).unwrap()
        };
        let passing = run(vec![
            report(&[1, 5], limbo(3)),
            report(&[9], held(0, 9)),
            report(&[9], limbo(2)),
        ]);
        assert_eq!(passing, report(&[], held(0, 9)));
        let staying = run(vec![
            report(&[1, 5], limbo(3)),
            report(&[5, 9], limbo(3)),
            report(&[5], limbo(3)),
        ]);
        assert_eq!(staying, report(&[5], limbo(3)));
    }
}
