//! What must hold for any bytes; shared by the fuzz target and the test that replays its corpus.

use bytes::Bytes;
use tidemark_records::{BatchHeader, records, split};

/// Bytes a decoded batch may take.
pub(crate) const BUDGET: usize = 1 << 20;

/// Cuts `data` into batches and decodes them. Nothing may panic, and no result may be larger than allowed.
/// The same is tried with every CRC made right, or the CRC would hide the rest of the decoder.
pub(crate) fn batches(data: &[u8]) {
    decode(Bytes::copy_from_slice(data));
    decode(resummed(data));
}

fn decode(data: Bytes) {
    let whole = data.len();
    let mut seen = 0;
    for batch in split(data).map_while(Result::ok) {
        seen += batch.header().size;
        assert_eq!(batch.bytes().len(), batch.header().size);
        let produced = batch.check_produced();
        let Ok(decoded) = records(&batch, BUDGET) else {
            continue;
        };
        assert_eq!(Ok(decoded.len()), batch.header().record_count.try_into());
        if produced.is_ok() {
            let offsets = batch.header().base_offset.0..=batch.header().last_offset().0;
            assert!(decoded.iter().all(|r| offsets.contains(&r.offset.0)));
        }
    }
    assert!(seen <= whole);
}

/// `data` with the CRC of every batch in it set to what its bytes give.
pub(crate) fn resummed(data: &[u8]) -> Bytes {
    let mut out = data.to_vec();
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&out[at..]) {
        let end = at + header.size;
        if end > out.len() {
            break;
        }
        let crc = crc32c(&out[at + 21..end]);
        out[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
        at = end;
    }
    out.into()
}

/// CRC32C by the definition, slow and independent of the library under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg())
        })
    })
}
