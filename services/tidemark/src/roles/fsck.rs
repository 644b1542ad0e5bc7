//! Checks what a node holds, of a stopped service or beside a running one. Repairs nothing.
//!
//! # Consistency
//! The metadata folder is one process's: opened, it says that the service is stopped and keeps it so until the
//! check is done. Every extent's row is held against the WAL, and the rows of cold segments against the object store.
//!
//! A running service is asked for its extents and audits its objects itself; the WAL is read beside it. An extent's row goes before the
//! extent does, so what the WAL lacks counts if the row is there before *and* after the WAL was read. A segment that
//! is recycled under the check looks damaged, so damage counts if it is found each time. Where open extents end is not
//! checked: they grow.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_journal::{ExtentId, ExtentInfo, Inventory};
pub use tidemark_log::{Audit, BadObject, Orphan, Uncovered};
use tidemark_log::{ExtentStatus, audit, extents, orphans_before};
use tidemark_lognode::LogNode;
pub use tidemark_lognode::{Damage, Report};
use tidemark_meta::MetaStore;
use tidemark_meta::embedded::{Embedded, OpenError};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::NodeId;

use super::{StartError, objects};
use crate::config::{MetaEngine, Settings};

/// Checks of a running node's WAL before damage is believed.
const TRIES: usize = 3;

/// What a check found.
#[derive(Debug)]
pub struct Fsck {
    /// The write-ahead log's folder.
    pub folder: String,
    /// Whether the service ran meanwhile.
    pub running: bool,
    /// What the WAL holds and what of it is damaged; `None` when it is not on this machine.
    pub wal: Option<Report>,
    /// Whether the metadata was held against it.
    pub metadata: Checked,
    /// Extents whose rows promise more than the WAL holds.
    pub missing: Vec<Missing>,
    /// Extents in the WAL that no row names; empty when the metadata was not checked.
    pub unreferenced: Vec<ExtentId>,
    /// The object store against the metadata; `None` when that was not checked.
    pub cold: Option<Audit>,
}

/// What a data folder is found as.
#[derive(Debug)]
pub enum Looked {
    /// Nobody had it open: it was checked.
    Stopped(Box<Fsck>),
    /// A service has it open: ask that one, and see [`fsck_beside`].
    Running,
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
    /// Of a service that is elsewhere, before its objects are audited.
    #[must_use]
    pub fn elsewhere(extents: usize) -> Self {
        Self {
            folder: String::new(),
            running: true,
            wal: None,
            metadata: Checked::Rows(extents),
            missing: Vec::new(),
            unreferenced: Vec::new(),
            cold: None,
        }
    }

    fn of(settings: &Settings, wal: Report, running: bool) -> Self {
        Self {
            folder: settings.node.data_dir.join("wal").display().to_string(),
            wal: Some(wal),
            running,
            ..Self::elsewhere(0)
        }
    }

    /// Whether everything that was checked is whole.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage().is_empty()
            && self.damaged().next().is_none()
            && self.missing.is_empty()
            && self.cold.as_ref().is_none_or(Audit::is_sound)
    }

    /// Damaged ranges of the WAL.
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        self.wal.as_ref().map_or(&[], |wal| &wal.damage)
    }

    /// Every extent in the WAL.
    #[must_use]
    pub fn extents(&self) -> &[ExtentInfo] {
        self.wal.as_ref().map_or(&[], |wal| &wal.extents)
    }

    /// The extents that cannot be read to their end.
    pub fn damaged(&self) -> impl Iterator<Item = &ExtentInfo> {
        self.extents().iter().filter(|info| is_limbo(info))
    }
}

/// Checks every frame of the node's WAL, and when the service is stopped every extent's row and every object of the log.
///
/// # Errors
/// When there is no log node in the data folder, or its files, its metadata or the object store cannot be read.
pub async fn fsck(settings: &Settings) -> Result<Looked, StartError> {
    let tasks = Tasks::new();
    let opened = match open_metadata(settings, &tasks)? {
        Opened::InUse => return Ok(Looked::Running),
        Opened::Store(store) => Ok(store),
        Opened::No(why) => Err(why),
    };
    let wal = verify(settings, if opened.is_ok() { 1 } else { TRIES }).await?;
    let mut found = Fsck::of(settings, wal, false);
    match opened {
        Ok(store) => {
            let rows = extents(&store).await.map_err(StartError::of)?;
            compare(&mut found, &rows, &rows);
            found.cold = Some(cold(settings, &store, &tasks).await?);
        }
        Err(why) => found.metadata = Checked::No(why),
    }
    tasks
        .shutdown(std::time::Duration::from_secs(10))
        .await
        .map_err(StartError::of)?;
    Ok(Looked::Stopped(Box::new(found)))
}

/// Checks every frame of a running service's WAL, between two looks at its extents, which `rows` takes.
///
/// # Errors
/// As [`fsck`], or those of `rows`.
pub async fn fsck_beside<E: From<StartError>>(
    settings: &Settings,
    mut rows: impl FnMut(Option<NodeId>) -> Result<Vec<ExtentStatus>, E>,
) -> Result<Fsck, E> {
    let before = rows(None)?;
    let wal = verify(settings, TRIES).await?;
    let after = rows(Some(wal.node))?;
    let mut found = Fsck::of(settings, wal, true);
    compare(&mut found, &before, &after);
    Ok(found)
}

async fn verify(settings: &Settings, tries: usize) -> Result<Report, StartError> {
    let folder = settings.node.data_dir.join("wal");
    let check = move || LogNode::verify(&folder).map_err(StartError::of);
    Tasks::spawn_blocking(move || persistent(tries, check)).await
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
    let before_ms = orphans_before(clock.wall_ms(), settings.cold.grace.0);
    let audited = audit(store, blob.as_ref(), &clock, before_ms).await;
    audited.map_err(StartError::of)
}

/// The metadata of a data folder.
enum Opened {
    Store(Embedded),
    /// A service has it open.
    InUse,
    /// It cannot be looked at, for this reason.
    No(String),
}

fn open_metadata(settings: &Settings, tasks: &Tasks) -> Result<Opened, StartError> {
    if settings.meta.engine != MetaEngine::Embedded {
        return Ok(Opened::No("it is not in the data folder".to_owned()));
    }
    let folder = settings.node.data_dir.join("meta");
    if !folder.is_dir() {
        return Ok(Opened::No(format!("there is no {}", folder.display())));
    }
    match Embedded::open(&folder, &Clock::system(), tasks) {
        Ok(store) => Ok(Opened::Store(store)),
        Err(OpenError::InUse { .. }) => Ok(Opened::InUse),
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

/// Holds the WAL against the rows as they were before and after it was read.
fn compare(found: &mut Fsck, before: &[ExtentStatus], after: &[ExtentStatus]) {
    let Some(wal) = &found.wal else { return };
    let held: BTreeMap<ExtentId, &Inventory> = wal
        .extents
        .iter()
        .map(|info| (info.extent, &info.inventory))
        .collect();
    let stayed: BTreeSet<ExtentId> = after.iter().map(id).collect();
    let missing = before.iter().filter_map(|row| {
        let extent = id(row);
        let why = lacking(wal.node, row, held.get(&extent).copied())?;
        stayed.contains(&extent).then_some(Missing { extent, why })
    });
    found.metadata = Checked::Rows(before.len());
    found.missing = missing.collect();
    let named: BTreeSet<ExtentId> = before.iter().chain(after).map(id).collect();
    let unnamed = held.keys().filter(|extent| !named.contains(extent));
    found.unreferenced = unnamed.copied().collect();
}

fn id(row: &ExtentStatus) -> ExtentId {
    ExtentId {
        shard: row.shard,
        index: row.index,
    }
}

/// What of an extent's row this node's WAL lacks. An open extent may be absent: its row is stored before the
/// node is asked to open it. What an operator gave up is not missing.
fn lacking(node: NodeId, row: &ExtentStatus, held: Option<&Inventory>) -> Option<String> {
    let end = row.end?;
    let promised = row.lost_from.map_or(end, |from| from.min(end));
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
    use tidemark_types::{ExtentIdx, Lsn, ShardId};

    use super::*;

    const NODE: NodeId = NodeId(7);

    fn row(end: Option<u64>) -> ExtentStatus {
        ExtentStatus {
            shard: ShardId(0),
            index: ExtentIdx(0),
            first: Lsn(10),
            end: end.map(Lsn),
            replicas: vec![NODE],
            lost_from: None,
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
        let sealed = row(Some(20));
        let lacks = |row: &ExtentStatus, held: Option<Inventory>| {
            lacking(NODE, row, held.as_ref()).is_some()
        };
        assert!(!lacks(&sealed, Some(held(10, 20))));
        assert!(!lacks(&sealed, Some(held(10, 25))), "more than sealed");
        assert!(lacks(&sealed, Some(held(10, 19))));
        assert!(lacks(&sealed, Some(held(11, 20))));
        assert!(lacks(&sealed, None));
        assert!(lacks(&sealed, Some(limbo(19))));
        assert!(!lacks(&sealed, Some(limbo(20))), "damaged beyond the seal");
        assert!(!lacks(&row(None), None));
        assert!(!lacks(&row(Some(10)), None), "empty");
        let elsewhere = ExtentStatus {
            replicas: vec![NodeId(8)],
            ..sealed.clone()
        };
        assert!(!lacks(&elsewhere, None));
        let given_up = ExtentStatus {
            lost_from: Some(Lsn(15)),
            ..sealed
        };
        assert!(!lacks(&given_up, Some(limbo(15))));
        assert!(lacks(&given_up, Some(limbo(14))));
    }

    #[test]
    fn what_was_given_up_or_made_while_the_wal_was_read_is_no_finding() {
        let wal = Report {
            node: NODE,
            extents: vec![ExtentInfo {
                extent: id(&at(7)),
                inventory: held(10, 20),
                bytes: 1,
            }],
            fences: Vec::new(),
            segments: (1, 0),
            damage: Vec::new(),
            foreign: Vec::new(),
        };
        let look = |before: &[ExtentStatus], after: &[ExtentStatus]| {
            let mut found = Fsck {
                wal: Some(wal.clone()),
                ..Fsck::elsewhere(0)
            };
            compare(&mut found, before, after);
            let missing = found.missing.iter().map(|missing| missing.extent);
            (missing.collect::<Vec<_>>(), found.unreferenced)
        };
        let both = [at(6), at(7)];
        assert_eq!(look(&both, &both[1..]), (vec![], vec![]), "released");
        assert_eq!(look(&both[1..], &both), (vec![], vec![]), "made");
        assert_eq!(look(&both, &both), (vec![id(&at(6))], vec![]));
        assert_eq!(look(&both[..1], &[]), (vec![], vec![id(&at(7))]));
    }

    fn at(index: u64) -> ExtentStatus {
        ExtentStatus {
            index: ExtentIdx(index),
            ..row(Some(20))
        }
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
