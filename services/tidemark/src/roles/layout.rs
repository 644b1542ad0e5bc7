//! What is fixed when a service is made: the number of shards, which every placement depends on (K10).

use std::sync::Arc;

use tidemark_meta::keys::schema::{Layout, LayoutKey};
use tidemark_meta::keys::{Key, Value};
use tidemark_meta::{MetaError, MetaStore, Mode, TransactError, transact};
use tidemark_runtime::{Clock, Entropy};

/// The stored number of shards; `wanted` becomes it when the service is new.
///
/// # Errors
/// When the store fails.
pub(super) async fn shards(
    store: &Arc<dyn MetaStore>,
    clock: &Clock,
    entropy: &Entropy,
    wanted: u32,
) -> Result<u32, TransactError<MetaError>> {
    let (found, _) = transact(store.as_ref(), clock, entropy, |tx| {
        Box::pin(async move {
            let key = LayoutKey.encode();
            if let Some(stored) = tx.get(&key, Mode::Serializable).await? {
                return Ok(Layout::decode(&stored).map_err(MetaError::from)?.shards);
            }
            tx.set(&key, &Layout { shards: wanted }.encode());
            Ok(wanted)
        })
    })
    .await?;
    if found != wanted {
        tracing::warn!(
            found,
            wanted,
            "log.shards is fixed once a service has data; the stored number is used"
        );
    }
    Ok(found)
}
