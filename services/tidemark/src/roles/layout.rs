//! What is fixed when a service is made: the number of shards, which every placement depends on (K10).

use tidemark_meta::keys::{
    self,
    schema::{Layout, LayoutKey},
};
use tidemark_meta::{MetaError, Mode, TransactError, transact};

use super::parts::Base;

/// The stored number of shards; `wanted` becomes it when the service is new.
///
/// # Errors
/// When the store fails.
pub(super) async fn shards(base: &Base, wanted: u32) -> Result<u32, TransactError<MetaError>> {
    let (found, _) = transact(base.store.as_ref(), &base.clock, &base.entropy, |tx| {
        Box::pin(async move {
            if let Some(stored) = keys::get(tx, &LayoutKey, Mode::Serializable).await? {
                return Ok(stored.shards);
            }
            keys::put(tx, &LayoutKey, &Layout { shards: wanted });
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
