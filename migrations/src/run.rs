//! Running migrations.

use futures_util::FutureExt;
use tidemark_meta::keys::schema::{
    ClusterId, ClusterKey, MigrationCursor, MigrationKey, Schema, SchemaKey,
};
use tidemark_meta::keys::{Tag, clear, get, put};
use tidemark_meta::{MetaError, MetaStore, Mode, RangeRead, TransactError, Transaction, transact};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Coded, ErrorCode};

use crate::{ALL, FIRST, Migration, Step};

/// What a start found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Who the keyspace belongs to.
    pub cluster: ClusterId,
    /// The keyspace's version now.
    pub version: u32,
    /// The keyspace was empty.
    pub created: bool,
    /// Migrations that this run completed.
    pub applied: Vec<Applied>,
}

/// A migration that was completed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
}

/// Why the keyspace is not usable by this program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program wrote it.
    #[error(
        "open the keyspace: its schema is version {found}, this program knows versions up to {known}. \
         Run a tidemark that knows version {found}, or restore a backup of version {known}"
    )]
    Newer {
        /// The keyspace's version.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// A newer program began to change it and did not finish.
    #[error(
        "open the keyspace: its schema is half way from version {} to {to}, this program knows versions up to \
         {known}. Start a tidemark that knows version {to}: it finishes the migration", .to - 1
    )]
    HalfWay {
        /// The version that was being made.
        to: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// A version that no program ever wrote.
    #[error(
        "open the keyspace: its schema is version {found}; versions {FIRST} to {known} are known to this program. \
         The row meta/schema is damaged: restore a backup"
    )]
    Unknown {
        /// The keyspace's version.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// There is data but no schema version.
    #[error(
        "open the keyspace: it holds data but no schema version, so it is not Tidemark's (version {known} expected). \
         Point the metadata store's setting at an empty place or at Tidemark's own"
    )]
    Foreign {
        /// The newest this program knows.
        known: u32,
    },
    /// The metadata store failed, or a row of the schema does not decode.
    #[error("migrate the keyspace: {0}")]
    Store(#[from] MetaError),
}

impl Coded for MigrateError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(e) => e.code(),
            _ => ErrorCode::Unknown,
        }
    }
}

/// What one transaction came to.
enum Round {
    Created,
    Current(ClusterId),
    Worked,
    Completed(Applied),
}

/// Brings the keyspace to the newest version this program knows. Call it before anything else uses the store.
///
/// # Errors
/// [`MigrateError`]; the keyspace is as usable as before.
pub async fn migrate(
    store: &dyn MetaStore,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Report, MigrateError> {
    migrate_with(store, clock, entropy, ALL).await
}

/// [`migrate`] with another list of migrations, for tests.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_with(
    store: &dyn MetaStore,
    clock: &Clock,
    entropy: &Entropy,
    all: &[&dyn Migration],
) -> Result<Report, MigrateError> {
    // Chosen once: after an unknown outcome the row that is there wins.
    let mut cluster = [0; 16];
    entropy.fill(&mut cluster);
    let (mut created, mut applied) = (false, Vec::new());
    loop {
        let outcome = transact(store, clock, entropy, |tx| {
            round(tx, all, ClusterId(cluster)).boxed()
        });
        let (round, _) = outcome.await.map_err(|e| match e {
            TransactError::Refused(e) => e,
            TransactError::Store(e) => MigrateError::Store(e),
        })?;
        match round {
            Round::Created => created = true,
            Round::Worked => {}
            Round::Completed(done) => {
                tracing::info!(
                    migration = done.number,
                    "migrated the keyspace: {}",
                    done.name
                );
                applied.push(done);
            }
            Round::Current(cluster) => {
                return Ok(Report {
                    cluster,
                    version: known(all),
                    created,
                    applied,
                });
            }
        }
    }
}

/// The newest version that `all` makes.
fn known(all: &[&dyn Migration]) -> u32 {
    FIRST + u32::try_from(all.len()).expect("migrations are few")
}

async fn round(
    tx: &mut dyn Transaction,
    all: &[&dyn Migration],
    fresh: ClusterId,
) -> Result<Round, TransactError<MigrateError>> {
    let refuse = |e| Err(TransactError::Refused(e));
    let known = known(all);
    let Some(Schema { version }) = get(tx, &SchemaKey, Mode::Serializable).await? else {
        if holds_data(tx).await? {
            return refuse(MigrateError::Foreign { known });
        }
        put(tx, &SchemaKey, &Schema { version: known });
        cluster_id(tx, fresh).await?;
        return Ok(Round::Created);
    };
    if version > known {
        return refuse(MigrateError::Newer {
            found: version,
            known,
        });
    }
    let cursor = get(tx, &MigrationKey, Mode::Serializable).await?;
    if let Some(cursor) = &cursor
        && cursor.migration > known
    {
        let to = cursor.migration;
        return refuse(MigrateError::HalfWay { to, known });
    }
    if version == known {
        return Ok(Round::Current(cluster_id(tx, fresh).await?));
    }
    let place = version
        .checked_sub(FIRST)
        .and_then(|v| usize::try_from(v).ok());
    let Some(migration) = place.and_then(|at| all.get(at)) else {
        return refuse(MigrateError::Unknown {
            found: version,
            known,
        });
    };
    let number = version + 1;
    let resume_at = match cursor {
        Some(cursor) if cursor.migration == number => cursor.resume_at,
        _ => Vec::new(),
    };
    match migration.step(tx, &resume_at).await? {
        Step::GoOn { resume_at } => {
            let cursor = MigrationCursor {
                migration: number,
                resume_at,
            };
            put(tx, &MigrationKey, &cursor);
            Ok(Round::Worked)
        }
        Step::Done => {
            clear(tx, &MigrationKey);
            put(tx, &SchemaKey, &Schema { version: number });
            let name = migration.name();
            Ok(Round::Completed(Applied { number, name }))
        }
    }
}

/// The cluster id that is there, or `fresh` from now on.
async fn cluster_id(tx: &mut dyn Transaction, fresh: ClusterId) -> Result<ClusterId, MetaError> {
    if let Some(there) = get(tx, &ClusterKey, Mode::Serializable).await? {
        return Ok(there);
    }
    put(tx, &ClusterKey, &fresh);
    Ok(fresh)
}

/// Whether there is any key but those that describe the keyspace itself.
async fn holds_data(tx: &mut dyn Transaction) -> Result<bool, MetaError> {
    let meta = Tag::Meta as u8;
    for (begin, end) in [(0, meta), (meta + 1, 0xff)] {
        let read = RangeRead {
            begin: vec![begin].into(),
            end: vec![end].into(),
            limit: 1,
            reverse: false,
            mode: Mode::Serializable,
        };
        if !tx.range(read).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
