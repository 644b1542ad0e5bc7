//! Every byte of every object of a shard.

use tidemark_blob::BlobKey;
use tidemark_meta::keys::cold::Level0Key;
use tidemark_meta::keys::cold1::Level1Key;
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_types::ShardId;

use super::read::{self, Row};
use super::{AuditError, Auditor, BadObject, Finding, READS};
use crate::tier::objects::object_key;
use crate::tier::rows::{Located, Rows};
use crate::tier::state;

pub(super) async fn check(
    auditor: &mut Auditor<'_>,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), AuditError> {
    for (partition, own) in rows.level1.iter() {
        for segment in own.iter() {
            let key = Level1Key {
                shard,
                partition: *partition,
                end: segment.end,
            };
            if let Some(located) = segment.located() {
                object(auditor, Row::Own(key), Held::Segment(located)).await?;
            }
        }
    }
    for segment in &rows.segments {
        let end = segment.end;
        let key = Level0Key { shard, end };
        object(auditor, Row::Shared(key), Held::Segment(segment.into())).await?;
    }
    if let Some(row) = rows.state {
        let key = Row::State(StateKey(shard));
        object(auditor, key, Held::State(row)).await?;
    }
    Ok(())
}

/// What an object holds.
#[derive(Clone, Copy)]
enum Held {
    Segment(Located),
    State(StateRow),
}

/// Reads an object whole, and says what is wrong with it.
async fn complaint(
    auditor: &mut Auditor<'_>,
    key: &BlobKey,
    held: Held,
) -> Result<Option<String>, AuditError> {
    match held {
        Held::Segment(located) => match read::whole(auditor, key, located).await {
            Ok(()) => Ok(None),
            Err(error) => error.complaint().map(Some),
        },
        Held::State(row) => {
            auditor.pace.take(row.bytes).await;
            Ok(state::verify(auditor.blob, key, &row).await?)
        }
    }
}

async fn object(auditor: &mut Auditor<'_>, row: Row, held: Held) -> Result<(), AuditError> {
    let (object, bytes) = match held {
        Held::Segment(located) => (located.object, located.bytes),
        Held::State(row) => (row.object, row.bytes),
    };
    let key = object_key(object)?;
    for read in 1..=READS {
        let Some(why) = complaint(auditor, &key, held).await? else {
            break;
        };
        // The row after the object: one that is taken out meanwhile is none of the log's any more.
        if !row.names(auditor.meta, object).await? {
            auditor.totals.changed += 1;
            return Ok(());
        }
        if read == READS {
            let key = key.to_string();
            auditor.found(Finding::Bad(BadObject { key, why })).await?;
        }
    }
    auditor.looked_at(bytes).await
}
