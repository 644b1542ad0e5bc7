//! What a scenario must fulfil beyond its shape, with hints.

use super::{Consume, Phase, Produce, Protocol, Scenario, ScenarioError};
use crate::payload;

impl Scenario {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        require(
            !self.phases.is_empty(),
            "there is no phase",
            "add one: [[phases]] with a name and produce, consume or idle",
        )?;
        require(
            self.topics.count >= 1 && self.topics.partitions >= 1,
            "topics without partitions",
            "topics.count and topics.partitions are 1 or more",
        )?;
        let smallest = self.record.size.smallest();
        require(
            smallest >= payload::HEADER_BYTES as u64,
            format!("records of {smallest} bytes"),
            "a value holds who wrote it, its number and its time: 24 bytes or more",
        )?;
        require(
            self.record.size.largest() <= 64 << 20,
            "records over 64 MiB",
            "record.size is 64 MiB at the most",
        )?;
        require(
            (0.0..=1.0).contains(&self.record.entropy),
            format!("record.entropy = {}", self.record.entropy),
            "a share: from 0 (the same byte) to 1 (random)",
        )?;
        self.phases.iter().try_for_each(Phase::check)
    }
}

impl Phase {
    fn check(&self) -> Result<(), ScenarioError> {
        let name = &self.name;
        let ends = self.duration.is_some() || self.records.is_some() || self.bytes.is_some();
        require(
            self.produce.is_none() || ends,
            format!("phase {name:?} produces without an end"),
            "give it a duration, records or bytes",
        )?;
        require(
            self.produce.is_some()
                || !self.consume.is_empty()
                || self.idle.is_some()
                || self.restart,
            format!("phase {name:?} does nothing"),
            "give it [phases.produce], [[phases.consume]], [phases.idle] or restart = true",
        )?;
        require(
            self.restart || !self.kill,
            format!("phase {name:?} kills without a restart"),
            "kill = true says how restart = true stops the server",
        )?;
        let idle_ends = self.idle.is_none() || self.duration.is_some();
        require(
            idle_ends,
            format!("phase {name:?} idles without an end"),
            "give it a duration",
        )?;
        if let (Some(all), Some(produce)) = (self.duration, &self.produce) {
            require(
                self.warmup.0 < all.0,
                format!("phase {name:?} is all warm-up"),
                "warmup is shorter than duration",
            )?;
            produce.check(name)?;
        } else if let Some(produce) = &self.produce {
            produce.check(name)?;
        }
        self.consume.iter().try_for_each(|c| c.check(name))
    }
}

impl Produce {
    fn check(&self, name: &str) -> Result<(), ScenarioError> {
        require(
            self.producers >= 1,
            format!("phase {name:?} has 0 producers"),
            "producers is 1 or more; leave [phases.produce] out to produce nothing",
        )?;
        require(
            self.rate.is_none_or(|r| r.is_finite() && r > 0.0),
            format!("phase {name:?} has a rate of {:?}", self.rate),
            "records a second, above 0; leave it out for the maximum",
        )?;
        require(
            self.in_flight >= 1 && self.batch_bytes.0 >= 1,
            format!("phase {name:?} may send nothing"),
            "in_flight and batch_bytes are 1 or more",
        )?;
        require(
            !self.idempotent || self.in_flight <= 5,
            format!(
                "phase {name:?} has {} idempotent requests in flight",
                self.in_flight
            ),
            "idempotent producers may have 5 (Kafka keeps five batches per producer); set idempotent = false for more",
        )?;
        require(
            self.protocol == Protocol::Kafka || self.sequential,
            format!("phase {name:?} batches over {:?}", self.protocol),
            "only kafka batches; set sequential = true, one record per request",
        )
    }
}

impl Consume {
    fn check(&self, name: &str) -> Result<(), ScenarioError> {
        require(
            self.groups >= 1 && self.members >= 1,
            format!("phase {name:?} has readers without members"),
            "groups and members are 1 or more",
        )?;
        require(
            self.protocol != Protocol::Nats,
            format!("phase {name:?} reads over NATS"),
            "readers speak kafka or http",
        )
    }
}

fn require(holds: bool, what: impl Into<String>, hint: &'static str) -> Result<(), ScenarioError> {
    if holds {
        return Ok(());
    }
    Err(ScenarioError::Meaning {
        what: what.into(),
        hint,
    })
}
