//! From many small objects of all partitions to one.
//!
//! A shard that takes little makes an object at every roll of an extent, each too small for its partitions to get objects of
//! their own. Neighbours are gathered into one of the usual size, without what nobody reads from them any more.
//!
//! # Bounds
//! A run takes at least as many objects as the settings say, none of which holds more than half of their bytes: so a byte is
//! rewritten as often as the sizes double up to the usual one, at the most. It costs one PUT, and two GETs per object or one for
//! every window. The object is gathered in memory, as in tiering.

use std::collections::BTreeSet;
use std::ops::Range;

use tidemark_meta::keys::cold::Level0Row;
use tidemark_segment::Builder;
use tidemark_types::{ObjectId, PartitionId};

use super::counters::{add, count};
use super::draft::{CompactError, give_up_if_failed};
use super::inventory::log_start;
use super::job::Job;
use super::merge::open;
use super::retain::not_before;
use super::rows::{Level0, Rows};
use super::swap;

/// Rewrites the oldest run of small objects. Answers whether there was one.
pub(crate) async fn squeeze(job: Job<'_>) -> Result<bool, CompactError> {
    let rows = job.shard.cold.rows();
    let sizes: Vec<u64> = rows.segments.iter().map(|s| s.row.bytes).collect();
    let config = &job.tier.config;
    let Some(run) = pick(&sizes, config.object_bytes, config.squeeze_objects) else {
        return Ok(false);
    };
    let gone = &rows.segments[run];
    let object = job.new_object();
    let outcome = rewrite(job, &rows, gone, object).await;
    give_up_if_failed(job, object, outcome).await?;
    Ok(true)
}

/// The oldest neighbours that are at least and at most so many, fit `bytes_max` together, and of which none has more than
/// half of the bytes.
fn pick(sizes: &[u64], bytes_max: u64, (least, most): (usize, usize)) -> Option<Range<usize>> {
    let mut from = 0;
    while from < sizes.len() {
        let mut sum = 0;
        let fits = sizes[from..].iter().take(most).take_while(|size| {
            sum += **size;
            sum <= bytes_max
        });
        let run = from..from + fits.count();
        let total: u64 = sizes[run.clone()].iter().sum();
        let largest = run.clone().max_by_key(|at| sizes[*at]);
        match largest.filter(|at| sizes[*at] > total / 2) {
            // What is left of it, and it, wait for more neighbours.
            Some(at) => from = at + 1,
            None if run.len() >= least.max(2) => return Some(run),
            None => from += 1,
        }
    }
    None
}

async fn rewrite(
    job: Job<'_>,
    rows: &Rows,
    gone: &[Level0],
    object: ObjectId,
) -> Result<(), CompactError> {
    let (Some(first), Some(last)) = (gone.first(), gone.last()) else {
        return Ok(());
    };
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let mut streams = open(job, gone.iter()).await?;
    let mut partitions: BTreeSet<PartitionId> = BTreeSet::new();
    for segment in gone {
        let index = tier.objects.index(segment).await?;
        partitions.extend(index.partitions().map(|part| part.id()));
    }
    let mut builder = Builder::new(object, first.row.first);
    for partition in partitions {
        let from = rows.own_end(partition).max(log_start(shard, partition));
        for stream in &mut streams {
            let mut batches = stream.batches(partition, from);
            while let Some(some) = batches.next(&tier.objects).await? {
                for batch in some {
                    builder.push(partition, batch.span(), batch.prefix, batch.rest)?;
                }
            }
        }
    }
    let mut new = None;
    if !builder.is_empty() {
        let built = builder.finish(last.end);
        job.put(object, &built.chunks).await?;
        count(&tier.counters.compaction_puts);
        add(&tier.counters.compaction_put_bytes, built.bytes);
        let row = Level0Row {
            object,
            first: first.row.first,
            bytes: built.bytes,
            index_at: built.index_at,
            max_timestamp: built.max_timestamp,
        };
        tier.objects.keep_index(object, built.index);
        new = Some(Level0 { end: last.end, row });
    }
    let later = not_before(env, tier);
    job.until_known(&tier.counters.compaction_failures, || {
        swap::squeeze(env, ownership, gone, new, later)
    })
    .await?;
    shard.cold.squeeze(gone, new);
    add(&tier.counters.objects_condemned, gone.len() as u64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_neighbours_are_picked_oldest_first() {
        let pick = |sizes: &[u64]| pick(sizes, 100, (4, 6));
        assert_eq!(pick(&[10; 3]), None);
        assert_eq!(pick(&[10; 4]), Some(0..4));
        assert_eq!(pick(&[10; 9]), Some(0..6), "no more than that");
        assert_eq!(pick(&[90, 90, 10, 10, 10, 10]), Some(2..6));
        assert_eq!(pick(&[50, 10, 10, 10]), None, "half of it is there already");
        assert_eq!(pick(&[30, 30, 30, 30, 30]), None, "three fill an object");
        assert_eq!(pick(&[200, 10, 10, 200, 10, 10]), None);
        assert_eq!(pick(&[40, 10, 10, 10, 10, 10]), Some(0..6));
        assert_eq!(pick(&[40, 30, 25, 10, 10, 10, 10]), Some(1..7));
    }

    proptest! {
        /// Whatever comes, few small objects are left and every byte is rewritten a few times.
        #[test]
        fn rewriting_is_bounded(sizes in prop::collection::vec(1..60_u64, 1..600)) {
            let mut held: Vec<u64> = Vec::new();
            let mut rewritten = 0;
            for size in &sizes {
                held.push(*size);
                while let Some(run) = pick(&held, 1_000, (4, 16)) {
                    let sum: u64 = held[run.clone()].iter().sum();
                    prop_assert!(run.len() >= 4 && run.len() <= 16 && sum <= 1_000);
                    rewritten += sum;
                    held.splice(run, [sum]);
                }
            }
            let all: u64 = sizes.iter().sum();
            // From 1 to 1,000 sizes double ten times.
            prop_assert!(rewritten <= 10 * all, "{rewritten} of {all}");
            prop_assert!(held.len() as u64 <= 40 + all / 200, "{held:?}");
        }
    }
}
