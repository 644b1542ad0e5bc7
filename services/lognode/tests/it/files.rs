//! A real folder.
#![allow(clippy::disallowed_methods, reason = "a test that damages files")]

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::{Append, Frame, Inventory, Replica};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig, OpenError};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, Lsn};

use crate::rig::{Pen, append, extent, fence, held, open, read_all};

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

/// Where a frame's bytes begin in the folder's files.
fn find(folder: &std::path::Path, frame: &Frame) -> (std::path::PathBuf, u64) {
    let needle = frame.chunks().next().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(needle.len()).position(|w| w == needle);
        if let Some(at) = at {
            return (path, at as u64);
        }
    }
    panic!("frame {} is not in the folder", frame.lsn);
}

#[tokio::test]
async fn a_flipped_byte_in_the_newest_extent_closes_it_at_the_next_start_with_file_and_range() {
    // The first frame lies in a closed segment, the last in the one that is written.
    for rotten in [0, 29] {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let node = start(folder.path(), &tasks).await.unwrap();
        let e = extent(1, 0);
        open(&node, e, 1, 0).await.unwrap();
        let frames = Pen::new(e, 1).frames(30, 100_000);
        for frame in &frames {
            append(&node, e, 1, vec![frame.clone()]).await.unwrap();
        }
        node.close().await;
        let (path, at) = find(folder.path(), &frames[rotten]);
        let mut options = std::fs::File::options();
        let file = options.read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at + 50_000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at + 50_000).unwrap();

        let node = start(folder.path(), &tasks).await.unwrap();
        let Inventory::Limbo { from, why } = fence(&node, e, 2).await.unwrap().inventory else {
            panic!("frame {rotten} is damaged");
        };
        assert_eq!(from, frames[rotten].lsn);
        let name = path.file_name().unwrap().to_str().unwrap();
        let end = at + frames[rotten].encoded_len() as u64;
        let range = format!("damaged below the synced mark: {name} bytes {at}..{end}");
        assert!(why.contains(&range), "{why}\n{range}");
        node.close().await;
        let report = LogNode::verify(folder.path()).unwrap();
        let damage: Vec<_> = report
            .damage
            .iter()
            .map(|d| (d.file.as_str(), d.from, d.to))
            .collect();
        assert_eq!(damage, [(name, at, end)]);
    }
}
