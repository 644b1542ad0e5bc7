//! Producer ids, in blocks out of the metadata store.

use futures_util::FutureExt;
use tidemark_meta::keys::producer_id::{ProducerIdBlocks, ProducerIdKey};
use tidemark_meta::{MetaError, MetaStore, Mode, TransactError, keys, transact};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{ProducerEpoch, ProducerId};

/// Ids in a block. A process that ends loses what is left of its block.
const BLOCK_IDS: i64 = 1_000;

/// Hands out producer ids. No two processes share a block: the row is read with conflict and rewritten. After an
/// unknown outcome the next block is taken, so an id is never given out twice.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(tokio::sync::Mutex<std::ops::Range<i64>>);

impl ProducerIds {
    pub(crate) async fn next(
        &self,
        store: &dyn MetaStore,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<(ProducerId, ProducerEpoch), MetaError> {
        let mut block = self.0.lock().await;
        if block.is_empty() {
            *block = take_block(store, clock, entropy).await?;
        }
        let id = block.start;
        block.start += 1;
        Ok((ProducerId(id), ProducerEpoch(0)))
    }
}

async fn take_block(
    store: &dyn MetaStore,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<std::ops::Range<i64>, MetaError> {
    let taken = transact::<_, MetaError>(store, clock, entropy, |tx| {
        async move {
            let row = keys::get(tx, &ProducerIdKey, Mode::Serializable).await?;
            let first = row.map_or(0, |row| row.next);
            let end = first
                .checked_add(BLOCK_IDS)
                .ok_or_else(|| MetaError::Corrupt("producer ids are used up".to_owned()))?;
            keys::put(tx, &ProducerIdKey, &ProducerIdBlocks { next: end });
            Ok(first..end)
        }
        .boxed()
    })
    .await;
    match taken {
        Ok((block, _)) => Ok(block),
        Err(TransactError::Refused(error) | TransactError::Store(error)) => Err(error),
    }
}
