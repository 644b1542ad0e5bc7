//! The walk over all tenants' groups, for what must happen although nobody asks.

use std::sync::Arc;

use tidemark_types::{Tenant, TenantId};

use super::{FIRST_SWEEP, Groups};
use crate::actor::Event;

impl Groups {
    /// Loads every tenant's groups that have members, so that members which never come back expire, and drops what is
    /// over its retention.
    pub(super) async fn sweep_for_ever(self) {
        let around = Arc::clone(&self.0.around);
        let mut wait = around.config.sweep_interval.min(FIRST_SWEEP);
        loop {
            tokio::select! { biased;
                () = around.stopping.cancelled() => return,
                () = around.clock.sleep(wait) => wait = around.config.sweep_interval,
            }
            let mut from = TenantId(0);
            loop {
                let tenant = match around.store.next_tenant(from).await {
                    Ok(Some(tenant)) => tenant,
                    Ok(None) => break,
                    Err(why) => {
                        tracing::info!("groups not swept: {why}");
                        break;
                    }
                };
                self.sweep_tenant(&Tenant::found_in_storage(tenant)).await;
                let Some(next) = tenant.0.checked_add(1) else {
                    break;
                };
                if around.stopping.is_cancelled() {
                    return;
                }
                from = TenantId(next);
            }
        }
    }

    /// One tenant's groups. What fails is tried again by the next sweep.
    async fn sweep_tenant(&self, tenant: &Tenant) {
        let groups = match self.list(tenant).await {
            Ok(groups) => groups,
            Err(why) => {
                tracing::info!(tenant = tenant.id().0, "groups not swept: {why}");
                return;
            }
        };
        for listed in groups {
            if self.0.around.stopping.is_cancelled() {
                return;
            }
            if let Err(why) = self.ask(tenant, &listed.group, Event::Sweep).await {
                tracing::info!(group = listed.group, "group not swept: {why}");
            }
        }
    }
}
