//! Objects that nothing names.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_blob::{BlobErrorKind, List};
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::{Mode, keys};
use tidemark_types::{ObjectId, ShardId};

use super::{AuditError, Auditor, Finding, Orphan};
use crate::tier::named::strike_named;
use crate::tier::objects::{object_key, object_of};

/// What the names of cold segments begin with.
const PREFIX: &str = "cold/";
/// Objects that rows are read for together.
const SUSPECTS_MAX: usize = 10_000;

/// Lists the store and holds it against the rows. `known`, sorted: what was named before.
pub(super) async fn check(
    auditor: &mut Auditor<'_>,
    known: &[ObjectId],
    before_ms: i64,
) -> Result<(), AuditError> {
    let mut list = List::prefix(PREFIX);
    let mut suspects: BTreeMap<ObjectId, u64> = BTreeMap::new();
    loop {
        let page = auditor.blob.list(list.clone()).await?;
        auditor.pace.take(0).await;
        let old = page.objects.into_iter();
        for listed in old.filter(|listed| listed.info.modified_ms < before_ms) {
            let bytes = listed.info.bytes;
            match object_of(&listed.key) {
                Some(object) if known.binary_search(&object).is_ok() => {}
                Some(object) => {
                    suspects.insert(object, bytes);
                }
                None => {
                    let key = listed.key.to_string();
                    let own = false;
                    let orphan = Orphan { key, bytes, own };
                    auditor.found(Finding::Orphan(orphan)).await?;
                }
            }
        }
        list.after = page.next;
        if list.after.is_none() || suspects.len() >= SUSPECTS_MAX {
            judge(auditor, std::mem::take(&mut suspects)).await?;
        }
        if list.after.is_none() {
            return Ok(());
        }
    }
}

/// T3: they were listed, so rows that are read now name them if anything does.
async fn judge(
    auditor: &mut Auditor<'_>,
    suspects: BTreeMap<ObjectId, u64>,
) -> Result<(), AuditError> {
    let shards: BTreeSet<ShardId> = suspects.keys().map(|object| object.shard).collect();
    for shard in shards {
        let of_shard = suspects.keys().filter(|object| object.shard == shard);
        let mut unnamed: BTreeSet<ObjectId> = of_shard.copied().collect();
        strike_named(auditor.meta, shard, &mut unnamed).await?;
        let mut tx = auditor.meta.begin();
        let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await?;
        drop(tx);
        for object in unnamed {
            let key = object_key(object)?;
            // What is gone now had a row until it was deleted, a moment ago.
            match auditor.blob.head(&key).await {
                Err(error) if error.kind() == BlobErrorKind::NotFound => continue,
                other => other?,
            };
            let orphan = Orphan {
                key: key.to_string(),
                bytes: suspects[&object],
                own: row.as_ref().is_some_and(|row| object.epoch <= row.epoch),
            };
            auditor.found(Finding::Orphan(orphan)).await?;
        }
    }
    Ok(())
}
