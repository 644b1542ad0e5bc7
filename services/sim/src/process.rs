//! One start of the service: leases, topics and log, as the binary wires them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_journal::{Nodes, Replica};
use tidemark_lease::Leases;
use tidemark_log::{Log, ShardState};
use tidemark_meta::MetaStore;
use tidemark_runtime::{Backoff, Tasks};
use tidemark_topics::Topics;
use tidemark_types::NodeId;

use crate::life::Life;
use crate::link::Link;
use crate::metadata::{Gate, Gated};
use crate::objects::Objects;
use crate::trace::note;
use crate::world::{Phase, World};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u32,
    pub(crate) node: NodeId,
    pub(crate) life: Life,
    pub(crate) tasks: Tasks,
    pub(crate) leases: Leases,
    pub(crate) topics: Topics,
    pub(crate) log: Log,
    nodes: Nodes,
    links: Mutex<Vec<Link>>,
}

impl Process {
    /// Starts a process of `node`. `life` is its machine's when it shares one.
    pub(crate) async fn start(
        world: &World,
        node: NodeId,
        life: Life,
        lags: &[(usize, Duration)],
    ) -> Option<Arc<Self>> {
        let number = world.next_number();
        note!(world.trace, "p{number} starts on node {node}");
        let (clock, entropy, tasks) = (&world.clock, &world.entropy, Tasks::new());
        let store: Arc<dyn MetaStore> = Arc::new(Gated {
            inner: Arc::new(world.store.clone()),
            gate: Gate {
                clock: clock.clone(),
                entropy: entropy.clone(),
                delay_max: world.plan.store_delay_max,
                facts: world.facts.clone(),
                sealed: Vec::new(),
                starts: world.starts.clone(),
                begins: Vec::new(),
                life: life.clone(),
                trace: world.trace.clone(),
                process: number,
            },
        });
        let nodes = Nodes::new();
        let links: Vec<Link> = (0..world.machines.len())
            .map(|at| way(world, at, &life, &nodes))
            .collect();
        for (at, lag) in lags {
            links[*at].set_lag(*lag);
        }
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 200);
        let registered = async {
            loop {
                match Leases::register(store.as_ref(), clock, entropy, node).await {
                    Ok(incarnation) => return Some(incarnation),
                    Err(_) if backoff.wait(clock, entropy).await => {}
                    Err(_) => return None,
                }
            }
        };
        let incarnation = tokio::select! {
            biased;
            () = life.ended() => return None,
            registered = registered => registered?,
        };
        let leases = Leases::new(
            Arc::clone(&store),
            nodes.clone(),
            clock.clone(),
            entropy.clone(),
            tasks.clone(),
            (node, incarnation),
            world.plan.lease_config(),
        );
        leases.start_heartbeat();
        let shards = world.plan.shards;
        let topics = Topics::new(Arc::clone(&store), clock.clone(), entropy.clone(), shards);
        topics.follow(&tasks);
        let cold = world.plan.cold.as_ref().map(|cold| {
            let objects = Objects::of_process(world, number, &life);
            (objects, cold.tier.clone())
        });
        let log = Log::start_tiered(
            world.plan.log_config(),
            leases.clone(),
            topics.clone(),
            store,
            cold,
            clock.clone(),
            entropy.clone(),
            &tasks,
        );
        Some(Arc::new(Self {
            number,
            node,
            life,
            tasks,
            leases,
            topics,
            log,
            nodes,
            links: Mutex::new(links),
        }))
    }

    /// Nothing is lost any more on the way to its log nodes.
    pub(crate) fn heal(&self) {
        self.links.lock().iter().for_each(Link::heal);
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.links.lock().iter().for_each(|link| link.set_cut(cut));
    }

    /// Cuts the way to one machine only.
    pub(crate) fn set_cut_to(&self, machine: usize, cut: bool) {
        self.links.lock()[machine].set_cut(cut);
    }

    pub(crate) fn set_lag_to(&self, machine: usize, lag: Duration) {
        self.links.lock()[machine].set_lag(lag);
    }

    /// A machine became another log node.
    pub(crate) fn meet(&self, world: &World, machine: usize) {
        let link = way(world, machine, &self.life, &self.nodes);
        self.links.lock()[machine] = link;
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.life.is_running() && self.log.status().is_ready()
    }

    pub(crate) fn closed(&self) -> Vec<tidemark_types::ShardId> {
        let shards = self.log.status().shards;
        let closed = shards
            .into_iter()
            .filter(|s| matches!(s.state, ShardState::Closed { .. }));
        closed.map(|s| s.shard).collect()
    }

    /// Why a shard stays closed, if it does.
    pub(crate) fn why_closed(&self, shard: tidemark_types::ShardId) -> Option<String> {
        let shards = self.log.status().shards;
        let mut of_shard = shards.into_iter().filter(|s| s.shard == shard);
        of_shard.find_map(|s| match s.state {
            ShardState::Closed { why } => Some(why),
            _ => None,
        })
    }

    /// One line of where its shards stand.
    pub(crate) fn standing(&self) -> String {
        let shards = self.log.status().shards;
        let each = shards.iter().map(|s| match &s.state {
            ShardState::Recovering { why } => format!("{}: recovering {why}", s.shard),
            ShardState::Serving { epoch } => format!("{}: serving at {epoch}", s.shard),
            ShardState::Closed { why } => format!("{}: closed {why}", s.shard),
            ShardState::Stopped => format!("{}: stopped", s.shard),
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

fn way(world: &World, machine: usize, life: &Life, nodes: &Nodes) -> Link {
    let weather = match world.phase() {
        Phase::Faults => world.plan.links,
        _ => world.plan.links.calm(),
    };
    let tap = world.machines[machine].tap();
    let link = Link::new(&tap, life, world.sources(), weather, &world.tasks);
    nodes.insert(Arc::new(link.clone()) as Arc<dyn Replica>);
    link
}
