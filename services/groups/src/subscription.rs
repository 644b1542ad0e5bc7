//! The little the coordinator reads of a consumer's subscription: its topics.
//!
//! Kafka's `ConsumerProtocolSubscription`: a version (i16), then topics as an i32 count of strings with an i16
//! length. Later versions add fields behind.

use tidemark_types::Reader;

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// The subscribed topics; `None` when the bytes are no subscription.
pub(crate) fn names(metadata: &[u8]) -> Option<Vec<&str>> {
    let mut from = Reader::new(metadata);
    from.i16("version").ok().filter(|v| *v >= 0)?;
    let count = usize::try_from(from.i32("topics").ok()?).ok()?;
    // Each name takes two bytes at least, so the count is checked before anything is allocated for it.
    if count > from.remaining() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let len = usize::try_from(from.i16("topic").ok()?).ok()?;
        topics.push(std::str::from_utf8(from.take(len, "topic").ok()?).ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_topics_and_refuses_lengths_that_lie() {
        let mut raw = vec![0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c'];
        raw.extend_from_slice(&[0xff; 9]);
        assert_eq!(names(&raw), Some(vec!["a", "bc"]));
        for cut in 0..13 {
            assert_eq!(names(&raw[..cut]), None, "cut at {cut}");
        }
        assert_eq!(names(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0]), None);
        assert_eq!(names(&[0xff, 0xff, 0, 0, 0, 0]), None);
    }
}
