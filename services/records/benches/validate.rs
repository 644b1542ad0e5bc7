//! What the gateway does to every produced batch: header, CRC32C, rules, the records' outlines. Bytes per second.
#![allow(missing_docs, reason = "criterion's macros make functions")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemark_records::{Batch, BatchBuilder, Compression, records};

/// Records of this many bytes, as many as make the batch about that large.
const SIZES: [(&str, usize, usize); 3] = [
    ("1 record of 1 KiB", 1 << 10, 1 << 10),
    ("128 KiB of 1 KiB", 1 << 10, 128 << 10),
    ("128 KiB of 100 B", 100, 128 << 10),
];

fn batch(compression: Compression, value_bytes: usize, batch_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    let value = vec![b'v'; value_bytes];
    for i in 0..(batch_bytes / value_bytes).max(1) {
        let ms = 1_700_000_000_000 + i64::try_from(i).expect("a small count");
        builder
            .push(ms, None, Some(&value), &[])
            .expect("the record fits");
    }
    builder.build().expect("a batch").into_bytes()
}

fn produced(c: &mut Criterion) {
    let mut group = c.benchmark_group("produced");
    for (name, value_bytes, batch_bytes) in SIZES {
        let bytes = batch(Compression::None, value_bytes, batch_bytes);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let batch = Batch::parse(black_box(bytes.clone())).expect("it is whole");
                batch.check_produced().expect("it is valid");
                batch.check_records().expect("they are valid");
                batch
            });
        });
    }
    group.finish();
}

/// What HTTP's readers, compaction and lookups by time do: records out of batches, of each codec.
fn decoded(c: &mut Criterion) {
    let mut group = c.benchmark_group("decoded");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let bytes = batch(compression, 100, 128 << 10);
        let batch = Batch::parse(bytes).expect("it is whole");
        group.throughput(Throughput::Bytes(128 << 10));
        group.bench_function(format!("128 KiB of 100 B, {compression:?}"), |b| {
            b.iter(|| records(black_box(&batch), 1 << 20).expect("they are valid"));
        });
    }
    group.finish();
}

criterion_group!(benches, produced, decoded);
criterion_main!(benches);
