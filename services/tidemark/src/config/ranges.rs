//! Which values of the right type a service can run with.

use std::fmt::Display;
use std::ops::RangeInclusive;

use tidemark_types::limits;

use super::{ByteCount, SettingDoc, Settings, Span};

/// More shards than this are a slip of the keyboard: each costs an extent and a task at every start.
const SHARDS_MAX: u32 = 4096;
/// Smaller segments spend more on their first and last blocks than they save. Larger ones take seconds to prepare.
const SEGMENT: RangeInclusive<ByteCount> = ByteCount::mib(1)..=ByteCount::gib(4);
/// Segments that the budget must hold: the current one, a reserve for fences, one that is ready for use, and one that
/// waits to be released.
const SEGMENTS_MIN: u64 = 4;
/// Room for one request of the largest frame, or a client that sends one waits for ever.
const REQUEST_MEMORY: RangeInclusive<ByteCount> =
    ByteCount(limits::REQUEST_BYTES_MAX as u64)..=ByteCount::gib(1 << 10);
/// What a session timeout may be bounded by: Kafka's clients count them in `i32` ms.
const SESSION: RangeInclusive<Span> = Span::from_millis(1)..=Span::from_millis(i32::MAX as u64);

/// Refuses a value with which nothing could be served.
pub(super) fn check(settings: &Settings, doc: &SettingDoc) -> Result<(), String> {
    let (log, wal, groups) = (&settings.log, &settings.wal, &settings.groups);
    match (doc.section, doc.key) {
        ("log", "shards") => within(log.shards, &(1..=SHARDS_MAX)),
        ("topics", "partitions") => {
            let range = 1..=limits::PARTITIONS_PER_TOPIC_MAX;
            within(settings.topics.partitions, &range)
        }
        ("kafka", "request_memory") => within(settings.kafka.request_memory, &REQUEST_MEMORY),
        ("wal", "segment_size") => within(wal.segment_size, &SEGMENT),
        ("groups", "session_timeout_min") => within(groups.session_timeout_min, &SESSION),
        ("groups", "session_timeout_max") => within(groups.session_timeout_max, &SESSION),
        _ => Ok(()),
    }
}

fn within<T: PartialOrd + Display>(value: T, range: &RangeInclusive<T>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(format!("{value} is not in {least} to {most}"))
}

/// Refuses settings that do not go with each other; names those it is about.
pub(super) fn check_together(settings: &Settings) -> Result<(), (&'static [&'static str], String)> {
    let (wal, groups) = (&settings.wal, &settings.groups);
    let least = wal.segment_size.0.saturating_mul(SEGMENTS_MIN);
    if wal.disk_budget.0 < least {
        let why = format!(
            "a budget of {} holds no {SEGMENTS_MIN} segments of {}: it must be at least {}",
            wal.disk_budget,
            wal.segment_size,
            ByteCount(least)
        );
        return Err((&["wal.disk_budget", "wal.segment_size"], why));
    }
    let (min, max) = (groups.session_timeout_min, groups.session_timeout_max);
    if min > max {
        let why = format!(
            "the smallest session timeout, {min}, is above the largest, {max}: no member could join"
        );
        let about = &["groups.session_timeout_min", "groups.session_timeout_max"];
        return Err((about, why));
    }
    Ok(())
}
