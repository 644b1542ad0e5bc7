//! A request's body from chunks, shared with whoever gave them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http_body::{Frame, SizeHint};

use crate::Body;

/// The chunks as the SDK sends them, one frame each.
pub(super) fn stream(body: &Body) -> ByteStream {
    ByteStream::new(SdkBody::from_body_1_x(Chunks {
        left: body.len(),
        body: body.clone(),
        next: 0,
    }))
}

/// CRC32C of the body as S3's headers write it: base64 of the big-endian sum.
pub(super) fn checksum<'a>(chunks: impl IntoIterator<Item = &'a Bytes>) -> String {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for chunk in chunks {
        digest.update(chunk);
    }
    let sum = u32::try_from(digest.finalize()).expect("a sum of 32 bits");
    STANDARD.encode(sum.to_be_bytes())
}

struct Chunks {
    body: Body,
    next: usize,
    left: u64,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.body.chunks().get(self.next).cloned();
        Poll::Ready(chunk.map(|chunk| {
            self.next += 1;
            self.left -= chunk.len() as u64;
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
