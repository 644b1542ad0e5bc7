//! The production engine: FoundationDB, behind the cargo feature `foundationdb`.
//!
//! # Overview
//! [`Network`] is FoundationDB's client: started once per process, on a thread of its own. [`Foundation`] is a
//! connection to one cluster. Calls are checked against the limits here first: the C client aborts the process
//! on some that it refuses.
//!
//! # Consistency
//! FoundationDB's own: strictly serializable.
//!
//! # Retries
//! None in here; `transact` is the one loop. Reads give up after 5 s.
//!
//! # Ambiguous outcomes
//! A commit is never timed out (J9). When its outcome is unknown it could still be on its way, so before
//! `MaybeCommitted` is answered the commit is made impossible: every writing transaction declares a random key of
//! its own as read and written, and a fence transaction that writes the same key then commits. Whatever arrives later
//! conflicts with it.
//!
//! # Cancellation
//! A commit that was submitted goes on when its future is dropped, but its fence does not: never drop it (J9).

mod errors;
mod network;
mod transaction;

use std::fmt;
use std::sync::Arc;

use foundationdb::Database;
use tidemark_runtime::{Clock, Entropy, Tasks};

pub use self::errors::OpenError;
pub use self::network::Network;
use self::transaction::FoundationTransaction;
use crate::{MetaStore, Transaction};

/// What the transactions of a connection share. Fields drop in order: the database before the network.
struct Cluster {
    database: Database,
    clock: Clock,
    entropy: Entropy,
    tasks: Tasks,
    _network: Network,
}

/// A connection to a FoundationDB cluster. Clones share it.
#[derive(Clone)]
pub struct Foundation(Arc<Cluster>);

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foundation")
    }
}

impl Foundation {
    /// Connects to the cluster that the file at `cluster_file` names. It answers at once, whether the cluster can be
    /// reached or not. `tasks` holds the tasks that wait for watches.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn open(
        network: &Network,
        cluster_file: &str,
        clock: &Clock,
        entropy: &Entropy,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        if cluster_file.contains('\0') {
            let why = "its name holds a zero byte".into();
            return Err(OpenError::cluster(cluster_file, why));
        }
        let database = Database::from_path(cluster_file)
            .map_err(|e| OpenError::cluster(cluster_file, errors::describe(e)))?;
        Ok(Self(Arc::new(Cluster {
            database,
            clock: clock.clone(),
            entropy: entropy.clone(),
            tasks: tasks.clone(),
            _network: network.clone(),
        })))
    }
}

impl MetaStore for Foundation {
    fn begin(&self) -> Box<dyn Transaction> {
        Box::new(FoundationTransaction::new(self.0.clone()))
    }
}
