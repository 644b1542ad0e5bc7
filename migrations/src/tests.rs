use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_meta::keys::put;
use tidemark_meta::keys::schema::{MigrationCursor, MigrationKey, Schema, SchemaKey};
use tidemark_meta::sim::Sim;
use tidemark_meta::{
    Committed, Decorate, Decorated, MetaError, MetaStore, Mode, RangeRead, Transaction,
};
use tidemark_runtime::{Clock, Entropy};

use super::*;

const OLD: u8 = 0xa0;
const NEW: u8 = 0xa1;

/// Moves rows from the tag OLD to NEW, three at a time.
struct Rename;

#[async_trait]
impl Migration for Rename {
    fn name(&self) -> &'static str {
        "rename rows"
    }

    async fn step(&self, tx: &mut dyn Transaction, resume_at: &[u8]) -> Result<Step, MetaError> {
        let begin = if resume_at.is_empty() {
            &[OLD]
        } else {
            resume_at
        };
        let rows = tx.range(read(begin, &[OLD + 1], 3)).await?;
        for (key, value) in &rows {
            tx.clear(key);
            tx.set(&[&[NEW], &key[1..]].concat(), value);
        }
        Ok(match rows.last() {
            Some((last, _)) => Step::GoOn {
                resume_at: last.to_vec(),
            },
            None => Step::Done,
        })
    }
}

/// Adds one to every renamed row: not idempotent by itself, so a piece that ran twice shows.
struct Increment;

#[async_trait]
impl Migration for Increment {
    fn name(&self) -> &'static str {
        "add one"
    }

    async fn step(&self, tx: &mut dyn Transaction, resume_at: &[u8]) -> Result<Step, MetaError> {
        let begin = if resume_at.is_empty() {
            &[NEW]
        } else {
            resume_at
        };
        let rows = tx.range(read(begin, &[NEW + 1], 2)).await?;
        for (key, value) in &rows {
            tx.set(key, &[value[0] + 1]);
        }
        Ok(match rows.last() {
            Some((last, _)) => Step::GoOn {
                resume_at: [last, &[0][..]].concat(),
            },
            None => Step::Done,
        })
    }
}

const TWO: &[&dyn Migration] = &[&Rename, &Increment];

fn read(begin: &[u8], end: &[u8], limit: usize) -> RangeRead {
    RangeRead {
        begin: Bytes::copy_from_slice(begin),
        end: Bytes::copy_from_slice(end),
        limit,
        reverse: false,
        mode: Mode::Serializable,
    }
}

/// A store that takes `left` commits, then is down; every `unknown`th commit answers that its outcome is unknown.
#[derive(Debug, Clone)]
struct Crashing {
    inner: Sim,
    left: Arc<AtomicU64>,
    unknown: u64,
}

impl MetaStore for Crashing {
    fn begin(&self) -> Box<dyn Transaction> {
        Decorated::boxed(self.inner.begin(), self.clone())
    }
}

#[async_trait]
impl Decorate for Crashing {
    async fn before_read(&mut self) -> Result<(), MetaError> {
        match self.left.load(Ordering::Relaxed) {
            0 => Err(MetaError::Invalid("the process crashed".into())),
            _ => Ok(()),
        }
    }

    async fn commit(
        mut self,
        inner: Box<dyn Transaction>,
        _writes: bool,
    ) -> Result<Committed, MetaError> {
        self.before_read().await?;
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        let committed = inner.commit().await?;
        match left % self.unknown {
            0 => Err(MetaError::MaybeCommitted),
            _ => Ok(committed),
        }
    }
}

async fn open(store: &dyn MetaStore, all: &[&dyn Migration]) -> Result<Report, MigrateError> {
    migrate_with(store, &Clock::simulated(0), &Entropy::seeded(7), all).await
}

/// A keyspace of the first version with ten old rows.
async fn first_version() -> Sim {
    let sim = Sim::new(&Clock::simulated(0));
    open(&sim, &[]).await.unwrap();
    let mut tx = sim.begin();
    (0..10).for_each(|i| tx.set(&[OLD, i], &[i]));
    tx.commit().await.unwrap();
    sim
}

async fn rows(store: &dyn MetaStore, tag: u8) -> Vec<(u8, u8)> {
    let mut tx = store.begin();
    let rows = tx.range(read(&[tag], &[tag + 1], 99)).await.unwrap();
    rows.iter().map(|(k, v)| (k[1], v[0])).collect()
}

async fn write_schema(sim: &Sim, version: u32, cursor: Option<u32>) {
    let mut tx = sim.begin();
    put(tx.as_mut(), &SchemaKey, &Schema { version });
    if let Some(migration) = cursor {
        let cursor = MigrationCursor {
            migration,
            resume_at: vec![1],
        };
        put(tx.as_mut(), &MigrationKey, &cursor);
    }
    tx.commit().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_keyspace_gets_the_newest_version_and_one_cluster_id() {
    let sim = Sim::new(&Clock::simulated(0));
    let first = open(&sim, TWO).await.unwrap();
    assert!(first.created && first.applied.is_empty());
    assert_eq!(first.version, FIRST + 2);
    let again = migrate_with(&sim, &Clock::simulated(0), &Entropy::seeded(8), TWO)
        .await
        .unwrap();
    assert_eq!(
        again,
        Report {
            created: false,
            ..first
        }
    );
}

#[tokio::test(start_paused = true)]
async fn todays_list_opens_what_it_made() {
    let sim = Sim::new(&Clock::simulated(0));
    let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(1));
    let made = migrate(&sim, &clock, &entropy).await.unwrap();
    let opened = migrate(&sim, &clock, &entropy).await.unwrap();
    assert_eq!(
        (made.cluster, made.version),
        (opened.cluster, opened.version)
    );
}

#[tokio::test(start_paused = true)]
async fn an_older_keyspace_is_migrated_whatever_crashes_on_the_way() {
    let expected: Vec<_> = (0..10).map(|i| (i, i + 1)).collect();
    for unknown in [2, 3, u64::MAX] {
        for crash_after in 1.. {
            let sim = first_version().await;
            let store = Crashing {
                inner: sim.clone(),
                left: Arc::new(AtomicU64::new(crash_after)),
                unknown,
            };
            let crashed = open(&store, TWO).await;
            let report = open(&sim, TWO).await.unwrap();
            assert_eq!(report.version, FIRST + 2);
            assert_eq!(rows(&sim, OLD).await, []);
            assert_eq!(rows(&sim, NEW).await, expected, "crash after {crash_after}");
            if let Ok(report) = crashed {
                let numbers: Vec<_> = report.applied.iter().map(|a| a.number).collect();
                assert!(unknown < u64::MAX || numbers == [2, 3]);
                assert!(crash_after > 10, "{crash_after} commits were enough");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_does_not_know_the_keyspace_refuses_it_and_says_why() {
    let sim = first_version().await;
    write_schema(&sim, 9, None).await;
    let error = open(&sim, TWO).await.unwrap_err();
    assert_eq!(error, MigrateError::Newer { found: 9, known: 3 });
    let message = error.to_string();
    assert!(
        message.contains("version 9") && message.contains("up to 3"),
        "{message}"
    );

    write_schema(&sim, 3, Some(4)).await;
    let error = open(&sim, TWO).await.unwrap_err();
    assert_eq!(error, MigrateError::HalfWay { to: 4, known: 3 });
    assert!(error.to_string().contains("from version 3 to 4"), "{error}");

    let sim = first_version().await;
    write_schema(&sim, 0, None).await;
    let error = open(&sim, TWO).await.unwrap_err();
    assert_eq!(error, MigrateError::Unknown { found: 0, known: 3 });
    assert_eq!(rows(&sim, OLD).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_half_migrated_keyspace_is_refused_by_the_program_before() {
    let sim = first_version().await;
    let store = Crashing {
        inner: sim.clone(),
        left: Arc::new(AtomicU64::new(2)),
        unknown: u64::MAX,
    };
    open(&store, TWO).await.unwrap_err();
    let error = open(&sim, &[]).await.unwrap_err();
    assert_eq!(error, MigrateError::HalfWay { to: 2, known: 1 });
}

#[tokio::test(start_paused = true)]
async fn someone_elses_data_is_left_alone() {
    for key in [[0], [0x80]] {
        let sim = Sim::new(&Clock::simulated(0));
        let mut tx = sim.begin();
        tx.set(&key, b"theirs");
        tx.commit().await.unwrap();
        let error = open(&sim, TWO).await.unwrap_err();
        assert_eq!(error, MigrateError::Foreign { known: 3 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_schema_row_of_an_unknown_format_is_refused() {
    let sim = first_version().await;
    let mut tx = sim.begin();
    let key = tidemark_meta::keys::Key::encode(&SchemaKey);
    tx.set(&key, &[9, 1]);
    tx.commit().await.unwrap();
    let error = open(&sim, TWO).await.unwrap_err();
    assert!(matches!(error, MigrateError::Store(MetaError::Corrupt(_))));
    assert!(error.to_string().contains("version 9"), "{error}");
}
