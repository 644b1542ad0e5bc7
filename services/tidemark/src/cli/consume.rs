//! `tidemark consume`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{Api, escaped};
use super::output::{array, cell};
use super::{CliError, Output};

/// Records asked for in one request.
const PAGE: u64 = 500;
/// Pause before an ended stream is taken up again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// `tidemark consume`.
#[derive(Args, Clone, Debug)]
pub(super) struct ConsumeArgs {
    /// The topic.
    topic: String,
    /// Partition to read. All of them when left out: one after the other, or side by side with --follow.
    #[arg(short, long)]
    partition: Option<u32>,
    /// Where to begin: `beginning`, `end`, an offset, or `@` and a time in ms since the Unix epoch.
    #[arg(long, default_value = "beginning", value_parser = From::parse)]
    from: From,
    /// Keep waiting for new records.
    #[arg(short, long)]
    follow: bool,
    /// Stop after this many records.
    #[arg(short = 'n', long)]
    limit: Option<u64>,
    /// What to print of a record.
    #[arg(long, value_enum, default_value_t = Format::Value)]
    format: Format,
    /// How keys and values are decoded for --json and --format json.
    #[arg(long, default_value = "utf8")]
    encoding: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The value, a line each.
    Value,
    /// Key, a tab, the value.
    KeyValue,
    /// Partition, offset, time, key, headers, value.
    Full,
    /// One JSON object a line.
    Json,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Beginning,
    End,
    Offset(u64),
    Time(i64),
}

impl From {
    fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is neither beginning, end, an offset nor @milliseconds");
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ => match text.strip_prefix('@') {
                Some(ms) => ms.parse().map(Self::Time).map_err(|_| refused()),
                None => text.parse().map(Self::Offset).map_err(|_| refused()),
            },
        }
    }

    /// The same place within `log_start..=end`, as far as these are known.
    fn nearest(self, log_start: Option<u64>, end: Option<u64>) -> Self {
        match (self, log_start, end) {
            (Self::Offset(n), Some(log_start), Some(end)) => {
                Self::Offset(n.max(log_start).min(end.max(log_start)))
            }
            _ => self,
        }
    }

    fn query(self) -> String {
        match self {
            Self::Beginning => "from=earliest".to_owned(),
            Self::End => "from=latest".to_owned(),
            Self::Offset(n) => format!("offset={n}"),
            Self::Time(ms) => format!("timestamp={ms}"),
        }
    }
}

/// Reads and prints records.
pub(super) fn run(args: &ConsumeArgs, api: &Api, out: Output) -> Result<(), CliError> {
    let partitions: Vec<(u64, From)> = match args.partition {
        Some(p) => vec![(u64::from(p), args.from)],
        None => array(
            &api.get(&format!("/v1/topics/{}", escaped(&args.topic)))?,
            "partitions",
        )
        .iter()
        .filter_map(|p| Some((p["partition"].as_u64()?, begin(args, p))))
        .collect(),
    };
    let left = Arc::new(AtomicU64::new(args.limit.unwrap_or(u64::MAX)));
    let reader = Reader {
        args: args.clone(),
        api: api.clone(),
        out,
        left,
    };
    if args.follow {
        follow_all(&reader, &partitions)
    } else {
        partitions
            .iter()
            .try_for_each(|(p, from)| reader.pages(*p, *from))
    }
}

/// Where to begin in one of all partitions: an offset that this one does not have is the nearest that it has.
fn begin(args: &ConsumeArgs, partition: &Value) -> From {
    let nearest = args.from.nearest(
        partition["log_start"].as_u64(),
        partition["high_watermark"].as_u64(),
    );
    if nearest != args.from {
        let (index, place) = (cell(&partition["partition"]), nearest.query());
        eprintln!("note: partition {index} does not reach that offset; reading it from {place}");
    }
    nearest
}

/// Follows every partition on a thread of its own. The first that ends, by failure or by the limit, ends the command.
fn follow_all(reader: &Reader, partitions: &[(u64, From)]) -> Result<(), CliError> {
    let (ended, first) = mpsc::channel();
    for (partition, from) in partitions {
        let (partition, from) = (*partition, *from);
        let (reader, ended) = (reader.clone(), ended.clone());
        std::thread::Builder::new().spawn(move || {
            // The command may have ended already.
            let _ = ended.send(reader.follow(partition, from));
        })?;
    }
    first.recv().unwrap_or(Ok(()))
}

#[derive(Clone)]
struct Reader {
    args: ConsumeArgs,
    api: Api,
    out: Output,
    /// Records still to be printed, over all partitions.
    left: Arc<AtomicU64>,
}

impl Reader {
    /// Prints a partition from where the arguments say to its end.
    fn pages(&self, partition: u64, from: From) -> Result<(), CliError> {
        let mut place = from.query();
        loop {
            let page = self
                .api
                .get(&self.path(partition, &format!("{place}&limit={PAGE}")))?;
            let records = array(&page, "records");
            for record in records {
                if !self.print(partition, record)? {
                    return Ok(());
                }
            }
            if records.is_empty() {
                return Ok(());
            }
            place = format!("offset={}", cell(&page["next_offset"]));
        }
    }

    /// Prints a partition's records as they come. A stream that ends (the service drains) is taken up where it
    /// stopped, after a pause; one that says why it cannot go on ends the command.
    fn follow(&self, partition: u64, from: From) -> Result<(), CliError> {
        let mut place = from.query();
        loop {
            let path = self.path(partition, &format!("{place}&follow=true"));
            for line in self.api.lines(&path, "application/x-ndjson")? {
                let Ok(record) = serde_json::from_str::<Value>(&line?) else {
                    break;
                };
                let Some(offset) = record["offset"].as_u64() else {
                    return Err(CliError::problem(&record));
                };
                if !self.print(partition, &record)? {
                    return Ok(());
                }
                place = format!("offset={}", offset + 1);
            }
            std::thread::park_timeout(RECONNECT_PAUSE);
        }
    }

    fn path(&self, partition: u64, query: &str) -> String {
        let (topic, encoding) = (escaped(&self.args.topic), escaped(&self.args.encoding));
        format!("/v1/topics/{topic}/partitions/{partition}/records?{query}&encoding={encoding}")
    }

    /// Prints a record; `false` when the limit was reached before it.
    fn print(&self, partition: u64, record: &Value) -> Result<bool, CliError> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if taken.is_err() {
            return Ok(false);
        }
        self.out.line(&self.text(partition, record))?;
        Ok(taken != Ok(1))
    }

    /// The record as the service gives it, with where it was read: lines of several partitions can be told apart.
    fn object(&self, partition: u64, record: &Value) -> Value {
        let mut object = record.as_object().cloned().unwrap_or_default();
        object.insert("topic".to_owned(), self.args.topic.clone().into());
        object.insert("partition".to_owned(), partition.into());
        object.into()
    }

    fn text(&self, partition: u64, record: &Value) -> String {
        let (key, value) = (cell(&record["key"]), cell(&record["value"]));
        match self.args.format {
            _ if self.out.json => self.object(partition, record).to_string(),
            Format::Json => self.object(partition, record).to_string(),
            Format::Value => value,
            Format::KeyValue => format!("{key}\t{value}"),
            Format::Full => {
                let pair = |h: &Value| format!("{}={}", cell(&h["key"]), cell(&h["value"]));
                let headers: Vec<String> = array(record, "headers").iter().map(pair).collect();
                let (offset, time) = (cell(&record["offset"]), cell(&record["timestamp"]));
                format!(
                    "{partition}/{offset} at {time} key {key} [{}] {value}",
                    headers.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_begin_is_parsed_or_refused_by_name() {
        assert_eq!(From::parse("12"), Ok(From::Offset(12)));
        assert_eq!(From::parse("@-5"), Ok(From::Time(-5)));
        assert!(From::parse("yesterday").unwrap_err().contains("yesterday"));
    }

    #[test]
    fn json_lines_say_where_a_record_was_read() {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            args: ConsumeArgs,
        }
        let reader = |flags: &[&str], json| {
            let words = ["consume", "orders"].iter().chain(flags);
            let Alone { args } = clap::Parser::try_parse_from(words).expect("they parse");
            Reader {
                args,
                api: Api::new("http://127.0.0.1:1"),
                out: Output { json },
                left: Arc::default(),
            }
        };
        let record = serde_json::json!({ "offset": 7, "value": "v" });
        let expected =
            serde_json::json!({ "topic": "orders", "partition": 3, "offset": 7, "value": "v" });
        for reader in [reader(&[], true), reader(&["--format", "json"], false)] {
            let line: Value = serde_json::from_str(&reader.text(3, &record)).expect("JSON");
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn an_offset_that_a_partition_does_not_have_is_the_nearest_it_has() {
        let nearest = |n, start, end| From::Offset(n).nearest(start, end);
        assert_eq!(nearest(5, Some(2), Some(9)), From::Offset(5));
        assert_eq!(nearest(1, Some(2), Some(9)), From::Offset(2));
        assert_eq!(nearest(10, Some(2), Some(9)), From::Offset(9));
        assert_eq!(nearest(10, None, None), From::Offset(10));
        assert_eq!(From::End.nearest(Some(2), Some(9)), From::End);
    }
}
