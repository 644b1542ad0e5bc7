//! The partitions of a run: topics and indexes as one dense numbering.

/// The topics a run writes and reads.
#[derive(Clone, Debug)]
pub struct Layout {
    names: Vec<String>,
    partitions: u32,
}

/// A partition of a run, dense from 0 on.
pub type Slot = usize;

impl Layout {
    /// `count` topics of `partitions` each, named after the run.
    #[must_use]
    pub fn new(run: &str, count: u32, partitions: u32) -> Self {
        Self {
            names: (0..count).map(|i| format!("load-{run}-{i}")).collect(),
            partitions,
        }
    }

    /// The topics' names.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.names
    }

    /// Partitions of each topic.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// How many partitions there are in all.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.names.len() * self.partitions as usize
    }

    /// Topic and index of a slot.
    #[must_use]
    pub fn place(&self, slot: Slot) -> (usize, i32) {
        let partitions = self.partitions as usize;
        let index = i32::try_from(slot % partitions).unwrap_or(i32::MAX);
        (slot / partitions, index)
    }

    /// A slot in words.
    #[must_use]
    pub fn name(&self, slot: Slot) -> String {
        let (topic, index) = self.place(slot);
        format!("{}/{index}", self.names[topic])
    }
}
