//! The WAL's format as it was when it was fixed: `migrations/fixtures/wal/v1`. Written once, with
//! `TIDEMARK_WRITE=1`, and never again for the same version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemark_journal::{Release, Replica};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, NodeId, ShardId};

use crate::rig::{Pen, append, extent, fence, held, open, read_all};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/fixtures/wal/v1")
}

async fn start(folder: &Path) -> Arc<LogNode> {
    let disk = Arc::new(FileDisk::open(folder).unwrap());
    let config = LogNodeConfig {
        segment_bytes: 32 << 10,
        ..LogNodeConfig::small()
    };
    let (clock, tasks) = (Clock::system(), Tasks::new());
    LogNode::open(disk, config, &clock, &Entropy::seeded(7), &tasks)
        .await
        .unwrap()
}

/// Three shards: one with an extent over several segments, one only fenced, one with a released extent.
async fn write(folder: &Path) {
    let node = start(folder).await;
    let (long, gone) = (extent(1, 4), extent(3, 0));
    fence(&node, extent(2, 0), 9).await.unwrap();
    open(&node, long, 5, 0).await.unwrap();
    open(&node, gone, 1, 0).await.unwrap();
    append(&node, gone, 1, Pen::new(gone, 1).frames(1, 3000))
        .await
        .unwrap();
    let mut pen = Pen::new(long, 5);
    for _ in 0..6 {
        append(&node, long, 5, pen.frames(2, 1800)).await.unwrap();
    }
    let epoch = Epoch(1);
    node.release(Release {
        extent: gone,
        epoch,
    })
    .await
    .unwrap();
    node.close().await;
}

#[tokio::test]
async fn the_format_of_version_1_is_read() {
    if std::env::var_os("TIDEMARK_WRITE").is_some() && !fixture().exists() {
        write(&fixture()).await;
        std::fs::remove_file(fixture().join("LOCK")).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let report = LogNode::verify(folder.path()).unwrap();
    assert_eq!(report.damage, Vec::new());
    assert_eq!(report.node, NodeId(Entropy::seeded(7).next_u64()));
    assert_eq!(report.fences, [(ShardId(2), Epoch(9))]);
    assert_eq!(report.extents.len(), 1);
    assert_eq!(report.extents[0].inventory, held(0, 12));

    let node = start(folder.path()).await;
    let long = extent(1, 4);
    let frames = Pen::new(long, 5).frames(12, 1800);
    assert_eq!(read_all(&node, long, 0, 12).await.unwrap(), frames);
    assert!(fence(&node, extent(2, 0), 8).await.is_err());
    node.close().await;
}
