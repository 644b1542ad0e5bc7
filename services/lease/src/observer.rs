//! Which nodes are alive, as far as this one can tell (B1), and who goes first (B2). No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemark_types::{NodeId, ShardId};

/// Heartbeats as this node has seen them.
///
/// Time is counted in intervals, never in clocks of others: one for each of this node's own heartbeats that
/// committed, in whose transaction the other's counter still stood where it did before.
#[derive(Debug)]
pub(crate) struct Observer {
    ttl_intervals: u32,
    nodes: BTreeMap<NodeId, Seen>,
}

#[derive(Debug)]
struct Seen {
    value: u64,
    stood_still: u32,
}

impl Observer {
    pub(crate) fn new(ttl: Duration, heartbeat: Duration) -> Self {
        let intervals = ttl.as_millis().div_ceil(heartbeat.as_millis().max(1));
        Self {
            ttl_intervals: u32::try_from(intervals).unwrap_or(u32::MAX),
            nodes: BTreeMap::new(),
        }
    }

    /// Takes in the counters read by the transaction of an own heartbeat that committed, own one left out.
    pub(crate) fn beat(&mut self, counters: &[(NodeId, u64)]) {
        self.nodes
            .retain(|node, _| counters.iter().any(|(id, _)| id == node));
        for &(node, value) in counters {
            let seen = self.nodes.entry(node).or_insert(Seen {
                value,
                // The first look starts the count; it proves no interval.
                stood_still: 0,
            });
            if seen.value == value {
                seen.stood_still = seen.stood_still.saturating_add(1);
            } else {
                *seen = Seen {
                    value,
                    stood_still: 0,
                };
            }
        }
    }

    /// The nodes whose shards may be taken, with the counter each stood still at. When more than a third of all
    /// nodes (this one counted) look dead, it may be this one that is cut off: one more TTL is waited for.
    pub(crate) fn dead(&self) -> Vec<(NodeId, u64)> {
        // `stood_still` counts the first look too, which proved nothing.
        let still =
            |seen: &Seen, ttls: u32| seen.stood_still > self.ttl_intervals.saturating_mul(ttls);
        let looks_dead = self.nodes.values().filter(|seen| still(seen, 1)).count();
        let ttls = if looks_dead * 3 > self.nodes.len() + 1 {
            2
        } else {
            1
        };
        let dead = self.nodes.iter().filter(|(_, seen)| still(seen, ttls));
        dead.map(|(node, seen)| (*node, seen.value)).collect()
    }

    /// This node's place among the living for a shard (B2): 0 goes first.
    pub(crate) fn rank(&self, shard: ShardId, me: NodeId) -> u32 {
        let dead = self.dead();
        let mine = rendezvous(shard, me);
        let before = self.nodes.keys().filter(|node| {
            !dead.iter().any(|(id, _)| id == *node) && rendezvous(shard, **node) > mine
        });
        u32::try_from(before.count()).unwrap_or(u32::MAX)
    }
}

/// A node's weight for a shard: rendezvous hashing, so that each shard ranks the nodes its own way and a node that
/// goes moves only what it had.
pub(crate) fn rendezvous(shard: ShardId, node: NodeId) -> u64 {
    // The finaliser of splitmix64 over both ids.
    let mut z = node.0 ^ u64::from(shard.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer() -> Observer {
        Observer::new(Duration::from_secs(6), Duration::from_secs(1))
    }

    fn beats(observer: &mut Observer, counters: &[(u64, u64)], times: u32) {
        let counters: Vec<_> = counters.iter().map(|(n, v)| (NodeId(*n), *v)).collect();
        for _ in 0..times {
            observer.beat(&counters);
        }
    }

    #[test]
    fn a_node_is_dead_after_a_whole_ttl_of_own_heartbeats_and_not_before() {
        let mut o = observer();
        let alive = [(2, 0), (3, 0), (4, 0)];
        beats(&mut o, &[alive[0], alive[1], alive[2], (9, 7)], 1);
        for i in 1..=6 {
            assert!(o.dead().is_empty(), "after {i} looks");
            beats(&mut o, &[(2, i), (3, i), (4, i), (9, 7)], 1);
        }
        assert_eq!(o.dead(), [(NodeId(9), 7)]);
        beats(&mut o, &[(2, 8), (3, 8), (4, 8), (9, 8)], 1);
        assert!(o.dead().is_empty(), "it moved");
    }

    #[test]
    fn when_more_than_a_third_look_dead_one_more_ttl_is_waited_for() {
        let mut o = observer();
        beats(&mut o, &[(2, 0)], 12);
        assert!(o.dead().is_empty());
        beats(&mut o, &[(2, 0)], 1);
        assert_eq!(o.dead(), [(NodeId(2), 0)]);
    }

    #[test]
    fn each_shard_has_exactly_one_first_candidate_among_the_living() {
        let nodes = [1, 2, 3, 4].map(NodeId);
        for shard in (0..50).map(ShardId) {
            let firsts = nodes.iter().filter(|me| {
                let mut o = observer();
                let others: Vec<_> = nodes.iter().filter(|n| n != me).map(|n| (*n, 1)).collect();
                o.beat(&others);
                o.rank(shard, **me) == 0
            });
            assert_eq!(firsts.count(), 1);
        }
    }
}
