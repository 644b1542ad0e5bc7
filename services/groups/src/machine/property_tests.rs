//! The machine under random events: whatever happens, these hold.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// What may happen next. Members are picked by index among those that were ever told an id.
#[derive(Clone, Debug)]
enum Happening {
    Join {
        who: Option<usize>,
        instance: Option<u8>,
        kind: u8,
        known: bool,
    },
    Sync {
        who: usize,
        stale: bool,
    },
    Heartbeat {
        who: usize,
        stale: bool,
    },
    Leave {
        who: usize,
    },
    Commit {
        who: Option<usize>,
        stale: bool,
    },
    Pass {
        ms: u64,
    },
    Reload,
}

fn happening() -> impl Strategy<Value = Happening> {
    let who = 0usize..8;
    prop_oneof![
        4 => (proptest::option::of(who.clone()), proptest::option::weighted(0.3, 0u8..2), 0u8..3, any::<bool>())
            .prop_map(|(who, instance, kind, known)| Happening::Join { who, instance, kind, known }),
        4 => (who.clone(), proptest::bool::weighted(0.1))
            .prop_map(|(who, stale)| Happening::Sync { who, stale }),
        2 => (who.clone(), proptest::bool::weighted(0.1))
            .prop_map(|(who, stale)| Happening::Heartbeat { who, stale }),
        1 => who.clone().prop_map(|who| Happening::Leave { who }),
        1 => (proptest::option::of(who), any::<bool>())
            .prop_map(|(who, stale)| Happening::Commit { who, stale }),
        4 => (0u64..12_000).prop_map(|ms| Happening::Pass { ms }),
        1 => Just(Happening::Reload),
    ]
}

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(20);

/// The machine and what its clients know of it.
struct Model {
    machine: Machine,
    stored: Option<(
        tidemark_meta::keys::group::GroupRow,
        tidemark_meta::keys::group::StoredMembers,
    )>,
    now: Duration,
    tickets: Ticket,
    /// Ids that clients were told.
    told: Vec<String>,
    /// Tickets that wait, with when they were given, and whether the client may give no id.
    waiting: BTreeMap<Ticket, Duration>,
    /// Generation → its protocol and leader, as told.
    generations: BTreeMap<i32, (String, String)>,
    newest: i32,
    /// Told, but not stored when their coordinator died.
    lost: Vec<i32>,
    /// (generation, member) → the assignment the leader brought.
    brought: BTreeMap<(i32, String), Bytes>,
    syncs: BTreeMap<Ticket, (i32, String)>,
}

impl Model {
    fn new() -> Self {
        Self {
            machine: Machine::new(GroupsConfig::default()),
            stored: None,
            now: Duration::ZERO,
            tickets: 0,
            told: Vec::new(),
            waiting: BTreeMap::new(),
            generations: BTreeMap::new(),
            newest: 0,
            lost: Vec::new(),
            brought: BTreeMap::new(),
            syncs: BTreeMap::new(),
        }
    }

    fn at(&self) -> At {
        At {
            now: self.now,
            wall_ms: 0,
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.waiting.insert(self.tickets, self.now);
        self.tickets
    }

    fn who(&self, who: usize) -> String {
        self.told
            .get(who % self.told.len().max(1))
            .cloned()
            .unwrap_or_default()
    }

    fn generation(&self, stale: bool) -> i32 {
        self.machine.generation - i32::from(stale)
    }

    fn happens(&mut self, what: Happening) {
        let at = self.at();
        match what {
            Happening::Join {
                who,
                instance,
                kind,
                known,
            } => {
                let member = who.map(|w| self.who(w)).unwrap_or_default();
                let ticket = self.ticket();
                let request = join(&member, instance, kind, known);
                let fresh = format!("{ticket}");
                self.machine.join(at, ticket, request, &fresh);
            }
            Happening::Sync { who, stale } => self.sync(&self.who(who), stale),
            Happening::Heartbeat { who, stale } => {
                let request = HeartbeatRequest {
                    group: String::new(),
                    member_id: self.who(who),
                    instance_id: None,
                    generation: self.generation(stale),
                };
                let beat = self.machine.heartbeat(at, &request);
                assert!(beat.is_err() || !stale, "an old generation lives");
            }
            Happening::Leave { who } => {
                let leaving = Leaving {
                    member_id: self.who(who),
                    instance_id: None,
                    reason: None,
                };
                self.machine.leave(at, vec![leaving]);
            }
            Happening::Commit { who, stale } => self.commit(who, stale),
            Happening::Pass { ms } => self.pass(Duration::from_millis(ms)),
            Happening::Reload => self.reload(),
        }
        self.settle();
    }

    fn sync(&mut self, member: &str, stale: bool) {
        let generation = self.generation(stale);
        let leads = self.machine.leader.as_deref() == Some(member);
        let ticket = self.ticket();
        let members = self.machine.members.keys();
        let assignments: Vec<_> = members
            .map(|id| {
                (
                    id.clone(),
                    Bytes::from(format!("{generation} {ticket} {id}")),
                )
            })
            .collect();
        let takes = self.machine.state == GroupState::CompletingRebalance && leads && !stale;
        if takes {
            for (id, assignment) in &assignments {
                self.brought
                    .insert((generation, id.clone()), assignment.clone());
            }
        }
        self.syncs.insert(ticket, (generation, member.to_owned()));
        let request = SyncRequest {
            group: String::new(),
            member_id: member.to_owned(),
            instance_id: None,
            generation,
            protocol_type: None,
            protocol: None,
            assignments,
        };
        self.machine.sync(self.at(), ticket, &request);
    }

    /// Invariant 12.
    fn commit(&mut self, who: Option<usize>, stale: bool) {
        let member = who.map(|w| self.who(w)).unwrap_or_default();
        let outside = member.is_empty();
        let request = CommitRequest {
            group: String::new(),
            member_id: member.clone(),
            instance_id: None,
            generation: if outside { -1 } else { self.generation(stale) },
            retention: None,
            offsets: Vec::new(),
        };
        if self.machine.admit_commit(self.at(), &request).is_ok() {
            if outside || request.generation < 0 {
                assert!(self.machine.members.is_empty(), "K7: the group has members");
            } else {
                assert!(!stale, "an old generation committed");
                assert!(self.machine.members.contains_key(&member));
            }
        }
    }

    /// Time passes as an actor sees it: every deadline is kept.
    fn pass(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(due) = self.machine.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.machine.tick(self.at());
            self.settle();
            let next = self.machine.next_deadline();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a deadline that is not done with"
            );
        }
        self.now = until;
    }

    /// The coordinator dies; another one starts from what is stored.
    fn reload(&mut self) {
        let before: Vec<_> = self.machine.members.keys().cloned().collect();
        let stable = self.machine.state == GroupState::Stable;
        self.machine = match &self.stored {
            Some((row, members)) => {
                Machine::load(GroupsConfig::default(), self.at(), row, members.clone())
            }
            None => Machine::new(GroupsConfig::default()),
        };
        if stable {
            assert!(self.machine.members.keys().eq(&before), "members go on");
        }
        let above = self.generations.range(self.machine.generation + 1..);
        self.lost.extend(above.map(|(told, _)| *told));
        self.waiting.clear();
        self.syncs.clear();
    }

    /// Stores and replies, then checks what must hold.
    fn settle(&mut self) {
        let step = self.machine.take_step();
        match step.store {
            MustStore::Nothing => {}
            MustStore::Announcement => {
                let (row, _) = self.stored.get_or_insert_with(Default::default);
                row.announced = self.machine.announced();
            }
            MustStore::Members => {
                self.stored = Some((self.machine.row(), self.machine.stored_members()));
            }
        }
        for reply in step.replies {
            match reply {
                Reply::Joined(ticket, joined) => self.joined(ticket, joined),
                Reply::Synced(ticket, synced) => self.synced(ticket, synced),
            }
        }
        self.check();
    }

    fn joined(&mut self, ticket: Ticket, joined: Result<Joined, GroupError>) {
        assert!(self.waiting.remove(&ticket).is_some(), "answered once");
        match joined {
            Ok(joined) => {
                // A new number is above every other; the stored one may be told again after a reload, one
                // that was told and then lost with its coordinator may not.
                let told_before = self.generations.contains_key(&joined.generation);
                assert!(
                    told_before || joined.generation > self.newest,
                    "generations never go back"
                );
                assert!(
                    !self.lost.contains(&joined.generation),
                    "a lost generation came back"
                );
                self.newest = self.newest.max(joined.generation);
                let announced = self.stored.as_ref().map(|(row, _)| row.announced);
                assert!(
                    announced >= Some(joined.generation),
                    "told before it was stored"
                );
                let (protocol, _) = self
                    .generations
                    .entry(joined.generation)
                    .or_insert_with(|| (joined.protocol.clone(), joined.leader.clone()));
                assert_eq!(*protocol, joined.protocol, "one protocol in a generation");
                self.told.push(joined.member_id);
            }
            Err(GroupError::MemberIdRequired { member_id }) => self.told.push(member_id),
            Err(_) => {}
        }
    }

    fn synced(&mut self, ticket: Ticket, synced: Result<Synced, GroupError>) {
        assert!(self.waiting.remove(&ticket).is_some(), "answered once");
        let asked = self.syncs.remove(&ticket);
        if let (Ok(synced), Some((generation, member))) = (synced, asked) {
            let by_leader = self.brought.values().any(|a| *a == synced.assignment);
            assert!(by_leader || synced.assignment.is_empty(), "made by nobody");
            if let Some(brought) = self.brought.get(&(generation, member)) {
                assert_eq!(*brought, synced.assignment, "from this generation's leader");
            }
        }
    }

    fn check(&self) {
        let machine = &self.machine;
        if !machine.members.is_empty() && machine.state != GroupState::PreparingRebalance {
            let leader = machine
                .leader
                .as_ref()
                .expect("a group with members has a leader");
            assert!(
                machine.members.contains_key(leader),
                "the leader is a member"
            );
            let protocol = machine.protocol.as_ref().expect("and a protocol");
            assert!(machine.members.values().all(|m| m.supports(protocol)));
        }
        if machine.state == GroupState::Empty {
            assert!(machine.members.is_empty(), "an empty group has members");
        }
        for (instance, id) in &machine.statics {
            assert_eq!(machine.members[id].instance.as_ref(), Some(instance));
        }
        let statics = machine.members.values().filter(|m| m.instance.is_some());
        assert_eq!(statics.count(), machine.statics.len());
        let joins = machine.members.values().filter_map(|m| m.join);
        let syncs = machine.members.values().filter_map(|m| m.sync);
        let mut held: Vec<_> = joins.chain(syncs).collect();
        held.sort_unstable();
        assert!(
            held.iter().eq(self.waiting.keys()),
            "every request waits or was answered"
        );
        if machine.state == GroupState::Stable {
            assert!(held.is_empty(), "nobody waits in a stable group");
        }
    }
}

fn join(member: &str, instance: Option<u8>, kind: u8, known: bool) -> JoinRequest {
    // Every member knows "range"; some know another one and prefer it.
    let names: &[&str] = match kind {
        0 => &["range"],
        1 => &["cooperative-sticky", "range"],
        _ => &["range", "cooperative-sticky"],
    };
    let one = |name: &&str| Protocol {
        name: (*name).to_owned(),
        metadata: Bytes::from(format!("{kind}")),
    };
    JoinRequest {
        group: String::new(),
        member_id: member.to_owned(),
        instance_id: instance.map(|i| format!("i{i}")),
        client_id: "c".to_owned(),
        client_host: String::new(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: names.iter().map(one).collect(),
        requires_known_member_id: known,
        can_skip_assignment: true,
        reason: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens(happenings in proptest::collection::vec(happening(), 1..120)) {
        let mut model = Model::new();
        for what in happenings {
            model.happens(what);
        }
        // Left alone, the group answers whoever waits, and then it is empty.
        let new_members = GroupsConfig::default().new_member_timeout;
        model.pass(new_members + 2 * (SESSION + REBALANCE) + REBALANCE);
        prop_assert!(model.waiting.is_empty(), "{:?} wait for ever", model.waiting);
        model.pass(2 * new_members + 10 * (SESSION + REBALANCE));
        prop_assert_eq!(model.machine.state(), GroupState::Empty);
        prop_assert!(model.machine.is_idle());
    }
}
