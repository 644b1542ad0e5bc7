//! `tidemark consume`.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{Api, escaped};
use super::output::{array, cell};
use super::{CliError, Output};

/// Records asked for in one request.
const PAGE: u64 = 500;

/// `tidemark consume`.
#[derive(Args, Debug)]
pub(super) struct ConsumeArgs {
    /// The topic.
    topic: String,
    /// Partition to read; all of them, one after the other, when left out (with --follow: partition 0 only if it is the only one).
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
    let partitions: Vec<u64> = match args.partition {
        Some(p) => vec![u64::from(p)],
        None => array(
            &api.get(&format!("/v1/topics/{}", escaped(&args.topic)))?,
            "partitions",
        )
        .iter()
        .filter_map(|p| p["partition"].as_u64())
        .collect(),
    };
    let mut reader = Reader {
        args,
        api,
        out,
        left: args.limit.unwrap_or(u64::MAX),
    };
    let mut places: Vec<(u64, String)> = partitions
        .into_iter()
        .map(|p| (p, args.from.query()))
        .collect();
    loop {
        let mut idle = true;
        let wait_ms = if args.follow {
            5_000 / places.len().max(1)
        } else {
            0
        };
        for (partition, place) in &mut places {
            let (next, printed) = reader.page(*partition, place, wait_ms)?;
            idle &= printed == 0;
            *place = format!("offset={next}");
            if reader.left == 0 {
                return Ok(());
            }
        }
        if idle && !args.follow {
            return Ok(());
        }
    }
}

struct Reader<'a> {
    args: &'a ConsumeArgs,
    api: &'a Api,
    out: Output,
    left: u64,
}

impl Reader<'_> {
    /// Prints one page from `place` on; gives the offset to go on from and how many records were printed.
    fn page(
        &mut self,
        partition: u64,
        place: &str,
        wait_ms: usize,
    ) -> Result<(u64, u64), CliError> {
        let page = self.api.get(&format!(
            "/v1/topics/{}/partitions/{partition}/records?{place}&limit={}&wait_ms={wait_ms}&encoding={}",
            escaped(&self.args.topic),
            self.left.min(PAGE),
            escaped(&self.args.encoding),
        ))?;
        let records = array(&page, "records");
        for record in records {
            self.out.line(&self.text(partition, record))?;
        }
        let printed = records.len() as u64;
        self.left = self.left.saturating_sub(printed);
        Ok((page["next_offset"].as_u64().unwrap_or_default(), printed))
    }

    fn text(&self, partition: u64, record: &Value) -> String {
        if self.out.json {
            return record.to_string();
        }
        match self.args.format {
            Format::Json => record.to_string(),
            Format::Value => cell(&record["value"]),
            Format::KeyValue => format!("{}\t{}", cell(&record["key"]), cell(&record["value"])),
            Format::Full => {
                let headers = array(record, "headers")
                    .iter()
                    .map(|h| format!("{}={}", cell(&h["key"]), cell(&h["value"])));
                format!(
                    "{partition}/{} at {} key {} [{}] {}",
                    cell(&record["offset"]),
                    cell(&record["timestamp"]),
                    cell(&record["key"]),
                    headers.collect::<Vec<_>>().join(", "),
                    cell(&record["value"])
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
}
