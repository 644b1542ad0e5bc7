//! Producers that send one record per request and wait for its ack: over HTTP and over NATS.

use crate::LoadError;
use crate::http::{self, Http};
use crate::layout::Slot;
use crate::measure::{Flow, Meter};
use crate::nats::Nats;
use crate::pace::Pace;
use crate::scenario::Protocol;
use crate::shared::Shared;
use crate::source::{Source, Until};

enum Link {
    Http(Http),
    Nats(Nats),
}

/// A producer of one record at a time.
pub struct Sequential {
    shared: Shared,
    number: u32,
    source: Source,
    link: Link,
}

impl Sequential {
    /// Connects.
    ///
    /// # Errors
    /// When the server is not there.
    pub async fn start(
        shared: Shared,
        protocol: Protocol,
        number: u32,
        source: Source,
    ) -> Result<Self, LoadError> {
        let link = match protocol {
            Protocol::Nats => {
                let name = format!("{}.{number}", shared.layout.topics()[0]);
                Link::Nats(Nats::connect(&nats_address(&shared)?, &name).await?)
            }
            Protocol::Http | Protocol::Kafka => {
                Link::Http(Http::connect(&http::address(&shared)?).await?)
            }
        };
        Ok(Self {
            shared,
            number,
            source,
            link,
        })
    }

    /// Sets when it begins and ends, and who counts.
    pub fn begin(&mut self, pace: Pace, until: Until, meter: Meter) {
        self.source.begin(pace, until);
        self.shared.meter = meter;
    }

    /// Produces until the source is over.
    ///
    /// # Errors
    /// The first refusal: a record whose outcome is unknown is not sent again here.
    pub async fn run(mut self) -> Result<(), LoadError> {
        loop {
            let now = self.shared.clock.now();
            if self.source.is_over(now) {
                return Ok(());
            }
            let Some(next) = self.source.next(now, &self.shared) else {
                let due = self.source.due().unwrap_or(now);
                tokio::time::sleep_until(due).await;
                continue;
            };
            let (_, value) = self.source.contents();
            let offset = append(&mut self.link, &self.shared, next.slot, value).await?;
            let at = self.shared.clock.now();
            self.source.turn();
            let latency = at.saturating_duration_since(next.intended);
            self.shared
                .ledger
                .lock()
                .acked(next.slot, self.number, 1, offset.saturating_add(1));
            self.shared
                .meter
                .moved(Flow::Produce, at, next.bytes as u64, [(latency, 1)]);
        }
    }
}

async fn append(
    link: &mut Link,
    shared: &Shared,
    slot: Slot,
    value: &[u8],
) -> Result<i64, LoadError> {
    match link {
        Link::Http(http) => http::append(http, &shared.layout, slot, value).await,
        Link::Nats(nats) => nats.append(&shared.layout, slot, value).await,
    }
}

/// The target's NATS address.
///
/// # Errors
/// When it has none.
pub fn nats_address(shared: &Shared) -> Result<String, LoadError> {
    shared.target.nats.clone().ok_or_else(|| LoadError::Usage {
        what: "the scenario speaks NATS and there is no NATS address".to_owned(),
        hint: "give one: --nats HOST:PORT".to_owned(),
    })
}
