//! Changing a topic's configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use tidemark_meta::keys::change::{ChangeKey, touch};
use tidemark_meta::keys::put;
use tidemark_meta::keys::topic::TopicKey;
use tidemark_meta::{Committed, Mode, Transaction};
use tidemark_types::TenantId;

use super::read::visible_by_name;
use super::{Created, Refusal, Run, TopicStore};
use crate::config::{ConfigDefaults, ConfigError, TopicConfig, config_spec};
use crate::{ConfigOp, TopicError};

/// A change of configuration.
#[derive(Debug)]
pub(crate) struct Altering {
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) ops: Vec<ConfigOp>,
    pub(crate) validate_only: bool,
}

impl TopicStore {
    /// Applies all of the operations, or none. Each gives the same result when applied twice, so a run after
    /// an unknown outcome needs no mark.
    pub(crate) async fn alter(
        &self,
        altering: Altering,
        defaults: &ConfigDefaults,
    ) -> Result<(Created, Committed), Refusal> {
        self.change(|tx| altering.run(tx, defaults).boxed()).await
    }
}

impl Altering {
    async fn run(&self, tx: &mut dyn Transaction, defaults: &ConfigDefaults) -> Run<Created> {
        let (id, mut record) =
            visible_by_name(tx, self.tenant, &self.name, Mode::Serializable).await?;
        let overrides = self
            .applied(&record.overrides, defaults)
            .map_err(TopicError::Config)?;
        let wrote = overrides != record.overrides && !self.validate_only;
        record.overrides = overrides;
        if wrote {
            record.revision += 1;
            let key = TopicKey {
                tenant: self.tenant,
                topic: id,
            };
            put(tx, &key, &record);
            touch(tx, ChangeKey::topics(self.tenant));
        }
        Ok(Created { id, record, wrote })
    }

    /// The overrides afterwards, checked. What another version of the service stored and this one does not
    /// know is kept and not checked.
    fn applied(
        &self,
        stored: &BTreeMap<String, String>,
        defaults: &ConfigDefaults,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let after = TopicConfig::apply(stored, &self.ops, defaults)?;
        let (foreign, known): (BTreeMap<_, _>, BTreeMap<_, _>) =
            after.into_iter().partition(|(name, value)| {
                config_spec(name).is_none() && stored.get(name) == Some(value)
            });
        let checked = TopicConfig::new(known, defaults)?;
        let mut out = Arc::unwrap_or_clone(checked.overrides);
        out.extend(foreign);
        Ok(out)
    }
}
