//! Answers onto a connection: the pieces as they are, never joined.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use tidemark_wire::Encoded;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::KafkaConfig;

/// Pieces handed to one system call at the most.
const SLICES_MAX: usize = 64;

/// Why an answer did not get through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteEnd {
    /// The connection broke.
    #[error("write answer: {0}")]
    Broken(#[from] std::io::Error),
    /// The peer does not read.
    #[error("write answer of {bytes} bytes: the peer did not read it in time")]
    Slow {
        /// The answer's length.
        bytes: usize,
    },
}

/// Writes one answer.
///
/// # Errors
/// [`WriteEnd`]; the connection cannot go on after it.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    io: &mut W,
    answer: Encoded,
    config: &KafkaConfig,
) -> Result<(), WriteEnd> {
    let bytes = answer.bytes();
    let all = write_all(io, answer.into_pieces().into());
    tokio::time::timeout(config.transfer_time(bytes), all)
        .await
        .map_err(|_| WriteEnd::Slow { bytes })??;
    Ok(())
}

async fn write_all<W: AsyncWrite + Unpin>(
    io: &mut W,
    mut pieces: VecDeque<Bytes>,
) -> std::io::Result<()> {
    while !pieces.is_empty() {
        let written = poll_fn(|cx| {
            // Made in each poll: they would be a kilobyte of every connection that waits.
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = pieces.len().min(SLICES_MAX);
            for (slice, piece) in slices.iter_mut().zip(&pieces) {
                *slice = IoSlice::new(piece);
            }
            Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count])
        })
        .await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        advance(&mut pieces, written);
    }
    io.flush().await
}

/// Drops what was written off the front. A piece that is done is released at once.
fn advance(pieces: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = pieces.front_mut() {
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        pieces.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advance_drops_whole_pieces_and_the_start_of_one() {
        let mut pieces: VecDeque<Bytes> = [&b"ab"[..], b"cde", b"f"].map(Bytes::from_static).into();
        advance(&mut pieces, 3);
        assert_eq!(pieces, [&b"de"[..], b"f"]);
        advance(&mut pieces, 3);
        assert!(pieces.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_pieces_arrive_in_order() {
        let pieces: VecDeque<Bytes> = (0..200u8).map(|i| Bytes::from(vec![i; 5])).collect();
        let expected: Vec<u8> = pieces.iter().flatten().copied().collect();
        let mut out = Vec::new();
        write_all(&mut out, pieces).await.unwrap();
        assert_eq!(out, expected);
    }
}
