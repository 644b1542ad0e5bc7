//! The rows of a shard's cold segments, in memory while it is owned.

use tidemark_meta::keys::Key;
use tidemark_meta::keys::cold::{Level0Key, Level0Row, TierKey};
use tidemark_meta::{MetaError, MetaStore, Mode, keys};
use tidemark_types::{Lsn, ShardId};

/// Rows read in one transaction.
const PAGE: usize = 1_000;

/// One cold segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Level0 {
    /// End of its LSN range, exclusive.
    pub(crate) end: Lsn,
    pub(crate) row: Level0Row,
}

/// A shard's cold segments. Immutable; a change makes another one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rows {
    /// Every frame below it lies in a cold segment, or held nothing that is kept.
    pub(crate) tiered: Lsn,
    /// In log order.
    pub(crate) segments: Vec<Level0>,
}

impl Rows {
    /// With one more segment at the end (none when its frames held no batches).
    pub(crate) fn with(&self, segment: Option<Level0>, tiered: Lsn) -> Self {
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend_from_slice(&self.segments);
        segments.extend(segment);
        Self { tiered, segments }
    }

    /// Without some segments.
    pub(crate) fn without(&self, gone: &[Level0]) -> Self {
        let kept = self.segments.iter().filter(|s| !gone.contains(s));
        Self {
            tiered: self.tiered,
            segments: kept.copied().collect(),
        }
    }
}

/// Reads a shard's rows. Only its owner changes them, so the pages need not be one transaction; a new owner reads them
/// after T1, which no commit of an earlier epoch survives.
pub(crate) async fn load(store: &dyn MetaStore, shard: ShardId) -> Result<Rows, MetaError> {
    let mut tx = store.begin();
    let tier = keys::get(tx.as_mut(), &TierKey(shard), Mode::Snapshot).await?;
    let mut rows = Rows {
        tiered: tier.unwrap_or_default().tiered_lsn,
        segments: Vec::new(),
    };
    let mut range = Level0Key::of_shard(shard);
    loop {
        let page: Vec<(Level0Key, Level0Row)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        let full = page.len() == PAGE;
        if let Some((last, _)) = page.last() {
            let end = last.end.next();
            range.begin = Level0Key { shard, end }.encode();
        }
        let segments = page
            .into_iter()
            .map(|(key, row)| Level0 { end: key.end, row });
        rows.segments.extend(segments);
        if !full {
            return Ok(rows);
        }
        tx = store.begin();
    }
}
