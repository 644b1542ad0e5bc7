//! Offsets that are over their time, of every tenant.

use std::sync::Arc;
use std::time::Duration;

use tidemark_topics::{NewTopic, TopicRef, Topics};
use tidemark_types::{PartitionIndex, Tenant, TenantId, TopicId};

use super::world::*;
use crate::*;

const DAY: u64 = 24 * 60 * 60;

async fn topic(
    world: &World,
    tenant: &Tenant,
    name: &str,
) -> (Topics, Arc<tidemark_topics::Topic>) {
    let topics = world.topics();
    let new = NewTopic {
        name: name.to_owned(),
        partitions: Some(2),
        ..NewTopic::default()
    };
    let made = topics.create(tenant, new).await.unwrap();
    (topics, made)
}

fn commit_of(topic: TopicId, member: Option<&Joined>) -> CommitRequest {
    let mut request = commit(member, &[0], 5);
    request.offsets[0].topic = topic;
    request
}

async fn committed_of(world: &World, tenant: &Tenant, topic: TopicId) -> bool {
    let which = OffsetSelection::Partitions(vec![(topic, PartitionIndex(0))]);
    let fetched = world.groups.fetch_offsets(tenant, GROUP, which).await;
    fetched.unwrap()[0].committed.is_some()
}

/// Each tenant's offsets of a group without members age from their commit and go at their time, not before.
#[tokio::test(start_paused = true)]
async fn offsets_expire_by_age_in_every_tenant() {
    let config = GroupsConfig {
        offsets_retention: Duration::from_secs(2 * DAY),
        ..GroupsConfig::default()
    };
    let world = World::with(config).await;
    let tenants = [0, 5, u32::MAX].map(|id| Tenant::found_in_storage(TenantId(id)));
    let mut topics = Vec::new();
    for tenant in &tenants {
        let (_, topic) = topic(&world, tenant, "t").await;
        let request = commit_of(topic.id, None);
        world.groups.commit_offsets(tenant, request).await.unwrap();
        topics.push(topic.id);
    }
    world.sleep(2 * DAY - 60).await;
    for (tenant, topic) in tenants.iter().zip(&topics) {
        assert!(committed_of(&world, tenant, *topic).await, "{tenant:?}");
    }
    // A commit begins the time anew.
    let again = commit_of(topics[1], None);
    world
        .groups
        .commit_offsets(&tenants[1], again)
        .await
        .unwrap();
    world.sleep(3_600).await;
    assert!(!committed_of(&world, &tenants[0], topics[0]).await);
    assert!(committed_of(&world, &tenants[1], topics[1]).await);
    assert!(!committed_of(&world, &tenants[2], topics[2]).await);
    assert!(world.groups.list(&tenants[0]).await.unwrap().is_empty());
    world.sleep(2 * DAY).await;
    assert!(!committed_of(&world, &tenants[1], topics[1]).await);
}

/// A group with members keeps its offsets whatever their age; they age from when it lost the last one.
#[tokio::test(start_paused = true)]
async fn offsets_of_a_group_with_members_age_from_its_end() {
    let config = GroupsConfig {
        offsets_retention: Duration::from_secs(DAY),
        ..GroupsConfig::default()
    };
    let world = World::with(config).await;
    let (topics, topic) = topic(&world, &TENANT, "t").await;
    let member = world.assemble(&[None]).await.remove(0);
    let request = commit_of(topic.id, Some(&member));
    world.groups.commit_offsets(&TENANT, request).await.unwrap();
    for _ in 0..(3 * DAY / 5) {
        world.sleep(5).await;
        world.heartbeat(&member).await.unwrap();
    }
    assert!(committed_of(&world, &TENANT, topic.id).await);
    // Silent from here: it expires, and the offsets have a day left.
    world.sleep(DAY - 600).await;
    assert!(committed_of(&world, &TENANT, topic.id).await);
    // Those of a deleted topic go with the next sweep.
    let (_, doomed) = self::topic(&world, &TENANT, "doomed").await;
    let request = commit_of(doomed.id, None);
    world.groups.commit_offsets(&TENANT, request).await.unwrap();
    topics
        .delete(&TENANT, TopicRef::Name("doomed"))
        .await
        .unwrap();
    world.sleep(700).await;
    assert!(!committed_of(&world, &TENANT, doomed.id).await);
    world.sleep(1_800).await;
    assert!(!committed_of(&world, &TENANT, topic.id).await);
}
