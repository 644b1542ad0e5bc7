//! FoundationDB's client, once per process.
#![allow(
    unsafe_code,
    reason = "starting the client is unsafe: it has to be stopped before exit"
)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foundationdb::api::{FdbApiBuilder, NetworkAutoStop};

use super::OpenError;
use super::errors::describe;

/// The running client. It stops when the last clone is dropped, connections included, and cannot be started
/// again in this process.
#[derive(Clone)]
pub struct Network {
    _running: Arc<NetworkAutoStop>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

/// The client library may be started once; a second try would panic in the bindings.
static STARTED: AtomicBool = AtomicBool::new(false);

impl Network {
    /// Loads the client library (see `tidemark_fdb_client`) and starts it.
    ///
    /// Keep a clone until the end of `main` and let it drop there: the client has to be stopped before the
    /// process exits, unless it aborts.
    ///
    /// # Errors
    /// When the library is missing or too old, or was started in this process already.
    pub fn start() -> Result<Self, OpenError> {
        tidemark_fdb_client::load()?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(OpenError::Client("it was started before".into()));
        }
        let failed = |e| OpenError::Client(describe(e));
        let builder = FdbApiBuilder::default().build().map_err(failed)?;
        // SAFETY: the guard stops the client when it is dropped; every connection holds it, and `main` does.
        let running = unsafe { builder.boot() }.map_err(failed)?;
        Ok(Self {
            _running: Arc::new(running),
        })
    }
}
