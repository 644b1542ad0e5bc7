//! The cache of topics: read under a read lock, changed in a few places, each of which says why it is coherent.
//!
//! # Consistency
//! Two things could leave an old topic in the cache. A *load* that read the store before a change and inserts after
//! it: a load names the generation it began in, every removal and every refresh starts a new one, and an insert of
//! an older generation is dropped. An *older snapshot* of the same topic: the one with the larger revision stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidemark_runtime::FastMap;
use tidemark_types::{TenantId, TopicId, TopicUuid};

use crate::Topic;

/// A moment of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(u64);

#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    generation: u64,
    ids: FastMap<TopicId, Arc<Topic>>,
    tenants: BTreeMap<TenantId, Names>,
}

#[derive(Debug, Default)]
struct Names {
    names: BTreeMap<String, Arc<Topic>>,
    uuids: BTreeMap<TopicUuid, Arc<Topic>>,
    /// Every topic of the tenant is here.
    complete: bool,
}

impl Cache {
    pub(crate) fn by_name(&self, tenant: TenantId, name: &str) -> Option<Arc<Topic>> {
        let kept = self.0.read();
        kept.tenants.get(&tenant)?.names.get(name).cloned()
    }

    pub(crate) fn by_uuid(&self, tenant: TenantId, uuid: TopicUuid) -> Option<Arc<Topic>> {
        let kept = self.0.read();
        kept.tenants.get(&tenant)?.uuids.get(&uuid).cloned()
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.0.read().ids.get(&id).cloned()
    }

    /// All topics of a tenant in the order of their names, when all are here.
    pub(crate) fn all(&self, tenant: TenantId) -> Option<Vec<Arc<Topic>>> {
        let kept = self.0.read();
        let names = kept.tenants.get(&tenant).filter(|n| n.complete)?;
        Some(names.names.values().cloned().collect())
    }

    /// What is here of a tenant, complete or not.
    pub(crate) fn held(&self, tenant: TenantId) -> (Vec<Arc<Topic>>, bool) {
        let kept = self.0.read();
        kept.tenants.get(&tenant).map_or_else(
            || (Vec::new(), false),
            |n| (n.names.values().cloned().collect(), n.complete),
        )
    }

    /// The tenants that have something here.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.0.read().tenants.keys().copied().collect()
    }

    /// Taken before the read of a load.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.0.read().generation)
    }

    /// Keeps what a load found, unless something happened since `began` that it may have missed.
    pub(crate) fn insert_loaded(&self, topic: &Arc<Topic>, began: Generation) {
        let mut kept = self.0.write();
        if kept.generation == began.0 {
            kept.insert(topic);
        }
    }

    /// Keeps what a change made here wrote.
    pub(crate) fn insert_changed(&self, topic: &Arc<Topic>) {
        self.0.write().insert(topic);
    }

    /// Marks a tenant as complete: a listing that began at `began` loaded everything.
    pub(crate) fn mark_complete(&self, tenant: TenantId, began: Generation) {
        let mut kept = self.0.write();
        if kept.generation == began.0 {
            kept.tenants.entry(tenant).or_default().complete = true;
        }
    }

    /// Forgets a topic. Loads that are under way will not bring it back.
    pub(crate) fn remove(&self, id: TopicId) {
        let mut kept = self.0.write();
        kept.generation += 1;
        kept.remove(id);
    }

    /// Forgets a topic that a refresh found gone. Loads that began before the refresh are dropped already; one that
    /// began since and still saw the topic did so before its deletion, whose change is yet to be followed.
    pub(crate) fn remove_refreshed(&self, id: TopicId) {
        self.0.write().remove(id);
    }

    /// A refresh begins: loads that began before are not kept.
    pub(crate) fn begin_refresh(&self) -> Generation {
        let mut kept = self.0.write();
        kept.generation += 1;
        Generation(kept.generation)
    }
}

impl Kept {
    fn insert(&mut self, topic: &Arc<Topic>) {
        if let Some(held) = self.ids.get(&topic.id)
            && held.revision >= topic.revision
        {
            return;
        }
        let names = self.tenants.entry(topic.tenant).or_default();
        // A name that another topic had: that one was deleted, and this process has not heard of it yet.
        if let Some(replaced) = names.names.insert(topic.name.clone(), topic.clone())
            && replaced.id != topic.id
        {
            names.uuids.remove(&replaced.uuid);
            self.ids.remove(&replaced.id);
        }
        names.uuids.insert(topic.uuid, topic.clone());
        self.ids.insert(topic.id, topic.clone());
    }

    fn remove(&mut self, id: TopicId) {
        let Some(topic) = self.ids.remove(&id) else {
            return;
        };
        if let Some(names) = self.tenants.get_mut(&topic.tenant) {
            names.uuids.remove(&topic.uuid);
            if names.names.get(&topic.name).is_some_and(|t| t.id == id) {
                names.names.remove(&topic.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicConfig;
    use crate::config::ConfigDefaults;

    fn topic(id: u64, name: &str, revision: u64) -> Arc<Topic> {
        Arc::new(Topic {
            tenant: TenantId(0),
            id: TopicId(id),
            uuid: TopicUuid([u8::try_from(id).unwrap(); 16]),
            name: name.into(),
            partitions: Vec::new(),
            config: TopicConfig::defaults(&ConfigDefaults::default()),
            created_ms: 0,
            revision,
        })
    }

    #[test]
    fn a_load_that_began_before_a_removal_is_not_kept() {
        let cache = Cache::default();
        let began = cache.generation();
        cache.remove(TopicId(1));
        cache.insert_loaded(&topic(1, "a", 1), began);
        assert!(cache.by_name(TenantId(0), "a").is_none());
        cache.mark_complete(TenantId(0), began);
        assert!(cache.all(TenantId(0)).is_none());
        cache.insert_loaded(&topic(1, "a", 1), cache.generation());
        assert!(cache.by_uuid(TenantId(0), TopicUuid([1; 16])).is_some());
        assert!(cache.by_name(TenantId(1), "a").is_none());
    }

    #[test]
    fn the_newer_revision_stays() {
        let cache = Cache::default();
        cache.insert_changed(&topic(1, "a", 2));
        cache.insert_changed(&topic(1, "a", 1));
        assert_eq!(cache.by_id(TopicId(1)).unwrap().revision, 2);
    }

    #[test]
    fn a_topic_made_again_replaces_its_namesake_whole() {
        let cache = Cache::default();
        cache.insert_changed(&topic(1, "a", 5));
        cache.insert_changed(&topic(2, "a", 1));
        assert!(cache.by_id(TopicId(1)).is_none());
        cache.remove(TopicId(1));
        assert_eq!(cache.by_name(TenantId(0), "a").unwrap().id, TopicId(2));
    }
}
