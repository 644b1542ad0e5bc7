//! What lies on disks, opened in an order that creates nothing before a refusal.
//!
//! # Crash consistency
//! A start that finds a write-ahead log, but no folder of the metadata, refuses. So that folder is durable before
//! a new log begins, whichever of both is whole first.

use std::sync::Arc;

use tidemark_lognode::LogNode;
use tidemark_runtime::{Clock, Entropy, Tasks};

use super::objects::Objects;
use super::parts::Base;
use super::rebuild::DiskGone;
use super::{StartError, objects, parts, rebuild};
use crate::config::Settings;

/// What lies on disks, opened.
pub(super) struct Opened {
    pub(super) base: Base,
    pub(super) node: Arc<LogNode>,
    pub(super) objects: Objects,
    /// A log that is gone and that the operator gives up.
    pub(super) gone: Option<DiskGone>,
}

impl Opened {
    /// Opens or makes all of it. The tasks are those of what is on the log's disk, and of the metadata.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::DiskGone`] without the word to rebuild.
    pub(super) async fn open(
        settings: &Settings,
        (wal_tasks, meta_tasks): (&Tasks, &Tasks),
        rebuild: bool,
    ) -> Result<Self, StartError> {
        let ambient = (Clock::system(), Entropy::system());
        let (clock, entropy) = (&ambient.0, &ambient.1);
        let wal = parts::open_log_node(settings, (clock, entropy), wal_tasks);
        let objects = objects::open(settings, (clock, entropy), wal_tasks);
        if !rebuild && parts::is_new(settings) {
            // Without metadata nothing can be gone, so there is no refusal to wait for. Making the metadata store is a
            // row of syncs in this thread; the others' are in theirs, begun before it.
            parts::begin_metadata(settings).await?;
            let base = parts::open_metadata(settings, &ambient, meta_tasks);
            let (node, objects, base) = tokio::join!(biased; wal, objects, base);
            return Ok(Self {
                base: base?,
                node: node?,
                objects: objects?,
                gone: None,
            });
        }
        let base = parts::open_metadata(settings, &ambient, meta_tasks).await?;
        let gone = match rebuild::look(settings, &base, rebuild).await? {
            Some(gone) if !rebuild => return Err(StartError::DiskGone(Box::new(gone))),
            gone => gone,
        };
        if rebuild && gone.is_none() {
            tracing::info!("nothing to rebuild: the write-ahead log is where it should be");
        }
        let (node, objects) = tokio::join!(biased; wal, objects);
        Ok(Self {
            base,
            node: node?,
            objects: objects?,
            gone,
        })
    }
}
