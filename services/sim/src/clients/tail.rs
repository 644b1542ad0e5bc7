//! Who asks for the end of the log, and who watches what every owner shows.

use std::time::Duration;

use tidemark_log::{Isolation, OffsetSpec};

use super::{Client, TOPIC};
use crate::trace::note;
use crate::world::{Phase, TENANT};

pub(super) async fn run(client: Client) {
    while client.works() {
        client.think(150).await;
        let Some(process) = client.pick() else {
            continue;
        };
        let Some(topic) = client.topic(&process, TOPIC).await else {
            continue;
        };
        let index = client.some_partition();
        let id = topic.partition_id(index);
        let floor = client.world.ledger.floor(id);
        let spec = match client.entropy.below(6) {
            0 => OffsetSpec::Earliest,
            1 => OffsetSpec::MaxTimestamp,
            2 => OffsetSpec::Timestamp(client.world.clock.wall_ms() - 2_000),
            _ => OffsetSpec::Latest,
        };
        let isolation = Isolation::default();
        let listed = process
            .log
            .list_offset(&TENANT, &topic, index, spec, isolation);
        let answer = client.ask(&process, listed).await;
        let number = process.number;
        note!(
            client.world.trace,
            "{} p{number} {id} {spec:?}: {answer:?}",
            client.name
        );
        let Some(Ok(listed)) = answer else { continue };
        let ledger = &client.world.ledger;
        match spec {
            // K1: the end as of after the question.
            OffsetSpec::Latest => ledger.claimed_end(id, listed.offset.0, floor, "ListOffsets"),
            OffsetSpec::Earliest => client.world.starts.begins(id, listed.offset.0),
            _ => {}
        }
    }
}

/// Looks at what every process shows without being asked.
pub(super) async fn sample(client: Client) {
    let mut standings = std::collections::BTreeMap::new();
    while client.world.phase() != Phase::Over {
        client.world.clock.sleep(Duration::from_millis(100)).await;
        for process in client.world.alive() {
            let standing = process.standing();
            if standings.get(&process.number) != Some(&standing) {
                note!(client.world.trace, "p{} {standing}", process.number);
                standings.insert(process.number, standing);
            }
            let Some(topic) = process.topics.cached(&TENANT, TOPIC) else {
                continue;
            };
            for (index, _) in topic.indexed() {
                if let Ok(now) = process.log.offsets(&TENANT, &topic, index) {
                    let (id, world) = (topic.partition_id(index), &client.world);
                    world
                        .ledger
                        .shown(id, now.leader_epoch, now.high_watermark.0);
                    world.starts.shown(id, now.leader_epoch, now.log_start.0);
                }
            }
        }
    }
}
