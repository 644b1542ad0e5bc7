//! Random changes by two processes under faults, against a model.

use proptest::prelude::*;

use super::*;
use crate::{ConfigOp, TopicError, TopicRef};

#[derive(Clone, Debug)]
enum Step {
    Create { name: usize, partitions: i32 },
    Delete { name: usize },
    DeleteOld { nth: usize },
    Grow { name: usize, total: i32 },
    Set { name: usize, value: u32 },
    Unset { name: usize },
    Lookup { name: usize },
}

const NAMES: [&str; 4] = ["a", "b.c", "b_c", "d"];

fn step() -> impl Strategy<Value = (bool, Step)> {
    let name = 0..NAMES.len();
    let step = prop_oneof![
        3 => (name.clone(), prop_oneof![1..6i32, Just(1_500)])
            .prop_map(|(name, partitions)| Step::Create { name, partitions }),
        2 => name.clone().prop_map(|name| Step::Delete { name }),
        1 => (0..4usize).prop_map(|nth| Step::DeleteOld { nth }),
        2 => (name.clone(), prop_oneof![1..9i32, Just(2_000)])
            .prop_map(|(name, total)| Step::Grow { name, total }),
        2 => (name.clone(), 0..5u32).prop_map(|(name, value)| Step::Set { name, value }),
        1 => name.clone().prop_map(|name| Step::Unset { name }),
        2 => name.prop_map(|name| Step::Lookup { name }),
    ];
    (any::<bool>(), step)
}

/// What the topics should be.
#[derive(Default)]
struct Model {
    topics: Seen,
    uuids: Vec<(String, TopicId, tidemark_types::TopicUuid)>,
}

impl Model {
    fn form_taken(&self, name: &str) -> bool {
        let form = |n: &str| n.replace('.', "_");
        self.topics.keys().any(|n| form(n) == form(name))
    }

    /// Takes a step on the service and on the model, and compares the answers.
    async fn take(&mut self, topics: &Topics, step: &Step) {
        match *step {
            Step::Create { name, partitions } => {
                let name = NAMES[name];
                let taken = self.form_taken(name);
                match topics.create(&TENANT, new(name, partitions)).await {
                    Ok(t) => {
                        assert!(!taken, "{name} was created twice");
                        assert!(
                            self.uuids
                                .iter()
                                .all(|(_, id, uuid)| *id != t.id && *uuid != t.uuid)
                        );
                        self.uuids.push((name.into(), t.id, t.uuid));
                        let count = t.partitions.len();
                        assert_eq!(count, usize::try_from(partitions).unwrap());
                        self.topics
                            .insert(name.into(), (t.id, count, BTreeMap::new()));
                    }
                    Err(TopicError::Exists { .. }) => assert!(self.topics.contains_key(name)),
                    Err(TopicError::Collides { existing, .. }) => {
                        assert!(self.topics.contains_key(&existing) && existing != name);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Delete { name } => {
                let answer = topics.delete(&TENANT, TopicRef::Name(NAMES[name])).await;
                let expected = self.topics.remove(NAMES[name]);
                assert_eq!(answer.ok().map(|d| d.id), expected.map(|t| t.0));
            }
            Step::DeleteOld { nth } => {
                let Some((name, id, uuid)) = self.uuids.get(nth).cloned() else {
                    return;
                };
                let answer = topics.delete(&TENANT, TopicRef::Uuid(uuid)).await;
                let lives = self.topics.get(&name).is_some_and(|t| t.0 == id);
                assert_eq!(answer.is_ok(), lives);
                if lives {
                    self.topics.remove(&name);
                }
            }
            Step::Grow { name, total } => {
                let answer = topics
                    .create_partitions(&TENANT, NAMES[name], total, false)
                    .await;
                let total = usize::try_from(total).unwrap();
                match self.topics.get_mut(NAMES[name]) {
                    Some(topic) if topic.1 < total => {
                        assert_eq!(answer.unwrap().partitions.len(), total);
                        topic.1 = total;
                    }
                    _ => assert!(answer.is_err()),
                }
            }
            Step::Set { name, value } => {
                let (key, value) = ("flush.ms".to_owned(), value.to_string());
                let op = ConfigOp::Set {
                    name: key.clone(),
                    value: value.clone(),
                };
                self.alter(topics, NAMES[name], op, |o| drop(o.insert(key, value)))
                    .await;
            }
            Step::Unset { name } => {
                let op = ConfigOp::Delete {
                    name: "flush.ms".into(),
                };
                self.alter(topics, NAMES[name], op, |o| drop(o.remove("flush.ms")))
                    .await;
            }
            Step::Lookup { name } => {
                // The other process's changes may not have been followed yet: only a listing past the cache is exact.
                let _ = topics.lookup(&TENANT, NAMES[name]).await.unwrap();
            }
        }
    }

    async fn alter(
        &mut self,
        topics: &Topics,
        name: &str,
        op: ConfigOp,
        apply: impl FnOnce(&mut BTreeMap<String, String>),
    ) {
        let answer = topics.alter_config(&TENANT, name, vec![op], false).await;
        match self.topics.get_mut(name) {
            Some(topic) => {
                apply(&mut topic.2);
                assert_eq!(*answer.unwrap().config.overrides, topic.2);
            }
            None => assert!(answer.is_err()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_change_takes_effect_once_whatever_its_commits_answer(
        seed: u64, per_mille in prop_oneof![Just(0u64), Just(300), Just(600)],
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(seed >> 1);
            let (a, b) = (world.process(), world.process());
            let tasks = tidemark_runtime::Tasks::new();
            a.follow(&tasks);
            b.follow(&tasks);
            world.faults.fail(per_mille);
            let mut model = Model::default();
            for (by_a, step) in &steps {
                model.take(if *by_a { &a } else { &b }, step).await;
            }
            world.faults.fail(0);
            let fresh = world.process().list(&TENANT).await.unwrap();
            assert_eq!(seen(&fresh), model.topics);
            let (topics, partitions) = (fresh.len(), fresh.iter().map(|t| t.partitions.len()).sum());
            assert_eq!(world.all_rows().await, [topics, topics, topics, partitions, partitions]);
            world.clock.sleep(std::time::Duration::from_secs(5)).await;
            for process in [&a, &b] {
                assert_eq!(seen(&process.list(&TENANT).await.unwrap()), model.topics);
                for name in NAMES {
                    let cached = process.lookup(&TENANT, name).await.unwrap();
                    let expected = model.topics.get(name).map(|t| t.0);
                    assert_eq!(cached.map(|t| t.id), expected);
                }
            }
        });
    }
}
