//! Who deletes the oldest records.

use tidemark_types::Offset;

use super::{Client, TOPIC};
use crate::trace::note;
use crate::world::TENANT;

pub(super) async fn run(client: Client) {
    while client.works() {
        client.think(2_500).await;
        let Some(process) = client.pick() else {
            continue;
        };
        let Some(topic) = client.topic(&process, TOPIC).await else {
            continue;
        };
        let index = client.some_partition();
        let (id, world) = (topic.partition_id(index), &client.world);
        // Mostly little, and never more than clients know of.
        let known = u64::try_from(world.ledger.floor(id)).unwrap_or(0);
        let bound =
            [known, known / 2, known / 4][usize::try_from(client.entropy.below(3)).unwrap_or(0)];
        let before = i64::try_from(client.entropy.below(bound + 1)).unwrap_or(0);
        world.starts.asked(id, before);
        let log = &process.log;
        let deleted = log.delete_records(&TENANT, &topic, index, Some(Offset(before)));
        let answer = client.ask(&process, deleted).await;
        let number = process.number;
        note!(
            world.trace,
            "trimmer p{number} {id} before {before}: {answer:?}"
        );
        if let (Some(Ok(start)), Ok(now)) = (answer, log.offsets(&TENANT, &topic, index)) {
            world.starts.answered(id, now.leader_epoch, start.0);
        }
    }
}
