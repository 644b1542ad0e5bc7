//! What produces hold, and how they wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_records::{BatchBuilder, Compression};
use tidemark_topics::NewTopic;
use tidemark_types::Tenant;
use tidemark_wire::frame::PREFIX_BYTES;
use tidemark_wire::messages::ProduceRequestData;

use crate::Ctx;
use crate::handlers::data_path::{Named, batch, produced, topic};
use crate::testing::{self, START_MS, ctx};

/// A frame's memory that says when it is given free.
struct Watched {
    bytes: Bytes,
    gone: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Produces a batch in a frame with so many bytes after the request. Whether the frame is given free then.
async fn produced_in(ctx: &Arc<Ctx>, to: &Named, more: usize) -> bool {
    let plain = testing::frame(&to.produce(9, Some(batch(&[7; 1_000]))), 9);
    let mut frame = BytesMut::from(&plain[..]);
    frame.put_bytes(0, more);
    let length = i32::try_from(frame.len() - PREFIX_BYTES).unwrap();
    frame[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    let gone = Arc::new(AtomicBool::new(false));
    let watched = Watched {
        bytes: frame.freeze(),
        gone: Arc::clone(&gone),
    };
    let frame = Bytes::from_owner(watched);
    let raw = testing::send(ctx, frame).await.unwrap().unwrap();
    let answer = testing::answer::<ProduceRequestData>(raw, 9);
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, 0);
    gone.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_batch_stays_in_its_frame_unless_the_frame_is_mostly_something_else() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let gone = produced_in(&ctx, &t, 500).await;
    assert!(!gone, "the batch is read from where it arrived");
    assert!(produced_in(&ctx, &t, 5_000).await, "a copy is kept");
}

/// KIP-467: the client fails the records at fault and may send the others again.
#[tokio::test(start_paused = true)]
async fn a_compacted_topic_names_the_records_without_a_key() {
    let ctx = ctx().await;
    let new = NewTopic {
        name: "compacted".to_owned(),
        partitions: Some(1),
        config: [("cleanup.policy".to_owned(), "compact,delete".to_owned())].into(),
        ..Default::default()
    };
    let tenant = Tenant::default_without_auth();
    let made = ctx.topics.create(&tenant, new).await.expect("created");
    let to = Named::of(&made);
    for (version, compression) in
        (3..=13).flat_map(|v| [(v, Compression::None), (v, Compression::Gzip)])
    {
        let mut mixed = BatchBuilder::new(compression);
        for key in [Some(&b"k"[..]), None, Some(b""), None] {
            mixed.push(START_MS, key, Some(b"v"), &[]).expect("fits");
        }
        let mixed = mixed.build().expect("builds").into_bytes();
        let answer = produced(&ctx, &to.produce(version, Some(mixed)), version).await;
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (87, -1),
            "v{version}"
        );
        let named: Vec<_> = answer.record_errors.iter().map(|r| r.batch_index).collect();
        if version >= 8 {
            assert_eq!(named, [1, 3], "v{version}");
            assert!(answer.record_errors[0].batch_index_error_message.is_some());
            let message = answer.error_message.expect("a message");
            assert!(message.as_str().contains("2 of its records"));
        } else {
            assert!(named.is_empty() && answer.error_message.is_none());
        }
    }
    let keyed = to.produce(9, Some(batch(b"v")));
    assert_eq!(produced(&ctx, &keyed, 9).await.base_offset, 0);
}
