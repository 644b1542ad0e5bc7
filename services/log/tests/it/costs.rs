//! What a GiB costs the object store: requests and rewritten bytes, counted over a run and held to what
//! `ARCHITECTURE.md` states.

#![allow(clippy::cast_possible_truncation, reason = "the constants are small")]

use std::sync::Arc;

use tidemark_blob::faulty::Faulty;
use tidemark_blob::{BlobMeter, Metered, Op};
use tidemark_types::PartitionIndex;

use crate::tiering::{audit, pause};
use crate::world::{TENANT, World};

/// Every size is a 64th of the settings' defaults, so this much costs what a GiB does.
const SCALE: u64 = 64;
const GIB: u64 = (1 << 30) / SCALE;
const GIBS: u64 = 2;
const PARTITIONS: i32 = 8;
const RECORD: usize = 4 << 10;

#[tokio::test(start_paused = true)]
async fn a_gib_through_tiering_and_compaction_costs_what_is_stated() {
    let mut world = World::tiered(130);
    world.config.shards = 1;
    world.config.roll_bytes = (512 << 20) / SCALE;
    world.fill_disks(0);
    let meter = BlobMeter::new(&world.clock);
    let cold = world.cold.as_mut().unwrap();
    let metered = Metered::new(Arc::new(cold.objects.clone()), meter.clone());
    cold.store = Faulty::new(Arc::new(metered), &world.clock, &world.entropy);
    let scaled = |bytes: u64| bytes / SCALE;
    let defaults = tidemark_log::TierConfig::default();
    cold.config = tidemark_log::TierConfig {
        object_bytes: scaled(defaults.object_bytes),
        segment_bytes: scaled(defaults.segment_bytes),
        chunk_bytes: defaults.chunk_bytes / SCALE as u32,
        compaction_memory_bytes: defaults.compaction_memory_bytes / SCALE as usize,
        merge_partition_bytes: scaled(defaults.merge_partition_bytes),
        ..defaults
    };
    let p = world.start().await;
    let topic = p.topic("t", PARTITIONS).await;
    let mut written = 0;
    for number in 0..GIBS * GIB / RECORD as u64 {
        let batch = p.batch(&[&"x".repeat(RECORD)]);
        written += batch.bytes().len() as u64;
        let index = PartitionIndex((number % PARTITIONS as u64) as i32);
        let sent = p
            .log
            .append(&TENANT, &topic, index, batch, Default::default());
        sent.await.unwrap();
        if number % 64 == 0 {
            pause(1).await;
        }
    }
    // The last extent rolls by its age.
    pause(3_600).await;
    let tier = p.log.tier_counters();
    println!("{written} bytes: {tier:?}");
    println!(
        "puts {:?}, gets {:?}",
        meter.counts(Op::Put),
        meter.counts(Op::Get)
    );
    let left = tier.objects - tier.objects_condemned;
    assert!(
        left < 32,
        "{left} objects were too few for a run, {} were not",
        tier.objects_condemned
    );

    // An extent's last object is what is left.
    let rolls = p.log.counters().rolls;
    assert!(
        tier.objects <= 74 * GIBS + rolls,
        "{} objects",
        tier.objects
    );
    assert!(tier.object_bytes <= written + written / 20);
    // One for every 64 MiB, and one for each partition in each run, which takes 32 objects at the least.
    let runs = tier.objects / 32;
    let most = 16 * GIBS + runs * PARTITIONS as u64;
    assert!(
        tier.compaction_puts <= most,
        "{} puts",
        tier.compaction_puts
    );
    // Each byte once.
    assert!(tier.compaction_put_bytes <= written + written / 20);
    // Runs of 32 objects read at least 2 MiB at a time; two more GETs for each object's index, and one for its last piece.
    let most = 512 * GIBS + 3 * tier.objects;
    assert!(
        tier.compaction_gets <= most,
        "{} gets",
        tier.compaction_gets
    );
    assert!(tier.compaction_get_bytes <= written + written / 10);
    // Nothing is asked of the store that is not counted: this is what it bills.
    let (puts, gets) = (meter.counts(Op::Put), meter.counts(Op::Get));
    assert_eq!(
        puts.requests,
        tier.objects + tier.compaction_puts + tier.states
    );
    assert_eq!(gets.requests, tier.gets + tier.compaction_gets);
    assert!(tier.gets <= 2 * tier.objects, "{} gets beside", tier.gets);
    let objects = tier.object_bytes + tier.compaction_put_bytes;
    assert_eq!(puts.bytes, objects + tier.state_bytes);
    // Each shard's state, behind each extent at the most.
    assert!(tier.states <= rolls + 1, "{} states", tier.states);
    assert_eq!(
        meter.counts(Op::List).requests + meter.counts(Op::Head).requests,
        0
    );
    audit(&world).await;
}
