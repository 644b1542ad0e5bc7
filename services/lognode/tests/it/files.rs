//! A real folder.

use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::{Append, Replica};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig, OpenError};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, Lsn};

use crate::rig::{Pen, extent, fence, held, open, read_all};

async fn start(folder: &std::path::Path, tasks: &Tasks) -> Result<Arc<LogNode>, OpenError> {
    let disk = Arc::new(FileDisk::open(folder)?);
    let config = LogNodeConfig {
        segment_bytes: 1 << 20,
        ..LogNodeConfig::default()
    };
    LogNode::open(disk, config, &Clock::system(), &Entropy::system(), tasks).await
}

#[tokio::test]
async fn frames_survive_a_restart_on_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let node = start(folder.path(), &tasks).await.unwrap();
    let id = node.node();
    let e = extent(1, 0);
    open(&node, e, 1, 0).await.unwrap();
    let mut pen = Pen::new(e, 1);
    let frames = pen.frames(60, 100_000);
    let answers: Vec<_> = frames
        .chunks(4)
        .map(|some| {
            node.append(Append {
                extent: e,
                epoch: Epoch(1),
                frames: some.to_vec(),
            })
        })
        .collect();
    let reader = {
        let node = node.clone();
        async move { read_all(&node, e, 0, 60).await.unwrap() }
    };
    let early = reader.await;
    assert_eq!(early, frames[..early.len()], "reads go beside the writer");
    for answer in answers {
        answer.await.unwrap();
    }
    assert_eq!(read_all(&node, e, 0, 60).await.unwrap(), frames);
    tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    drop(node);

    let tasks = Tasks::new();
    let first = start(folder.path(), &tasks).await.unwrap();
    first.close().await;
    let node = start(folder.path(), &tasks).await.unwrap();
    assert_eq!(node.node(), id, "the cookie decides the id");
    assert_eq!(fence(&node, e, 2).await.unwrap().inventory, held(0, 60));
    assert_eq!(read_all(&node, e, 0, 60).await.unwrap(), frames);
    assert_eq!(
        node.probe(tidemark_journal::Probe { extent: e })
            .await
            .unwrap()
            .end,
        Some(Lsn(60))
    );
    node.close().await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_a_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let _node = start(folder.path(), &tasks).await.unwrap();
    let refused = start(folder.path(), &tasks).await.unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }));
    assert!(
        refused
            .to_string()
            .contains("another process uses this data folder")
    );
}
