//! The topics whose deletion was sequenced lately.

use std::collections::VecDeque;

use tidemark_runtime::FastSet;
use tidemark_types::TopicId;

/// Deletions remembered. Appends that were resolved before a deletion arrive within moments of it; one that comes after
/// this many more makes state that the hourly audit of deleted topics removes.
const TOPICS_MAX: usize = 16_384;

/// The newest deletions.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    topics: FastSet<TopicId>,
    order: VecDeque<TopicId>,
}

impl Forgotten {
    pub(super) fn contains(&self, topic: TopicId) -> bool {
        self.topics.contains(&topic)
    }

    /// Whether it is new.
    pub(super) fn insert(&mut self, topic: TopicId) -> bool {
        let new = self.topics.insert(topic);
        if new {
            self.order.push_back(topic);
        }
        if self.order.len() > TOPICS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.topics.remove(&oldest);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_deletions_are_remembered() {
        let mut forgotten = Forgotten::default();
        for id in 0..3 * TOPICS_MAX as u64 {
            assert!(forgotten.insert(TopicId(id)));
            assert!(!forgotten.insert(TopicId(id)));
            assert!(forgotten.topics.len() <= TOPICS_MAX && forgotten.order.len() <= TOPICS_MAX);
        }
        assert!(forgotten.contains(TopicId(3 * TOPICS_MAX as u64 - 1)));
        assert!(!forgotten.contains(TopicId(0)));
        assert!(forgotten.insert(TopicId(0)));
    }
}
