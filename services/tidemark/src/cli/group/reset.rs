//! `tidemark group reset-offsets`.

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::super::client::{Api, escaped};
use super::super::output::{array, cell};
use super::super::{CliError, Output};

/// What to move, and where to.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("scope").required(true).args(["topics", "all_topics"])),
    group(ArgGroup::new("target").required(true).args(TARGETS)),
)]
pub(in crate::cli) struct ResetArgs {
    /// The group's id. It must have no members.
    group: String,
    /// A topic, or some partitions of it: `orders`, `orders:0,3`. May be repeated.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = Scope::parse)]
    topics: Vec<Scope>,
    /// Every partition that the group has an offset of.
    #[arg(long)]
    all_topics: bool,
    /// To the first readable record.
    #[arg(long)]
    to_earliest: bool,
    /// To the end.
    #[arg(long)]
    to_latest: bool,
    /// To where the group is; to the end where it has no offset.
    #[arg(long)]
    to_current: bool,
    /// To this offset, or the nearest there is.
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<u64>,
    /// To the first record at or after this time: ms since the Unix epoch, or as `2026-11-21T14:00:00` (UTC).
    #[arg(long, alias = "to-datetime", value_name = "TIME", value_parser = time)]
    to_time: Option<i64>,
    /// So many records on, or back when negative.
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// Only print the plan. The default.
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Move the offsets.
    #[arg(long)]
    execute: bool,
}

const TARGETS: [&str; 6] = [
    "to_earliest",
    "to_latest",
    "to_current",
    "to_offset",
    "to_time",
    "shift_by",
];

/// A topic and, when only some are meant, its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Scope {
    topic: String,
    partitions: Option<Vec<i32>>,
}

impl Scope {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((topic, partitions)) = text.split_once(':') else {
            return Ok(Self {
                topic: text.to_owned(),
                partitions: None,
            });
        };
        let partitions = partitions.split(',').map(|p| {
            let index = p.trim().parse::<i32>().ok().filter(|p| *p >= 0);
            index.ok_or_else(|| format!("{p:?} is not a partition: write {topic}:0,1"))
        });
        Ok(Self {
            topic: topic.to_owned(),
            partitions: Some(partitions.collect::<Result<_, _>>()?),
        })
    }
}

/// Milliseconds since the Unix epoch, as given or of a date and time.
fn time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.trim_start_matches('@').parse() {
        return Ok(ms);
    }
    let refused =
        || format!("{text:?} is neither ms since the Unix epoch nor as 2026-11-21T14:00:00");
    let at = humantime::parse_rfc3339_weak(text).map_err(|_| refused())?;
    let since = at
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| refused())?;
    i64::try_from(since.as_millis()).map_err(|_| refused())
}

impl ResetArgs {
    fn body(&self) -> Value {
        let to = match (self.to_offset, self.to_time, self.shift_by) {
            (Some(offset), ..) => json!({ "offset": offset }),
            (_, Some(ms), _) => json!({ "timestamp": ms }),
            (.., Some(records)) => json!({ "shift_by": records }),
            _ if self.to_earliest => json!("earliest"),
            _ if self.to_latest => json!("latest"),
            _ => json!("current"),
        };
        if self.all_topics {
            return json!({ "to": to });
        }
        let topic = |s: &Scope| match &s.partitions {
            Some(some) => json!({ "topic": s.topic, "partitions": some }),
            None => json!({ "topic": s.topic }),
        };
        json!({ "to": to, "topics": self.topics.iter().map(topic).collect::<Vec<_>>() })
    }
}

/// Moves a group's offsets, or shows where they would go.
pub(super) fn run(args: &ResetArgs, api: &Api, out: Output) -> Result<(), CliError> {
    let path = format!(
        "/v1/groups/{}/offsets?validate_only={}",
        escaped(&args.group),
        !args.execute
    );
    let answer = api.post(&path, &args.body())?;
    let columns = [
        "topic",
        "partition",
        "offset",
        "new_offset",
        "log_start",
        "high_watermark",
    ];
    out.show(&answer, &columns, |answer| {
        let row = |o: &Value| columns.map(|c| cell(&o[c])).to_vec();
        array(answer, "offsets").iter().map(row).collect()
    })?;
    for near in array(&answer, "offsets") {
        if near["nearest"] == true {
            let (topic, partition) = (cell(&near["topic"]), cell(&near["partition"]));
            eprintln!(
                "note: {topic}/{partition} does not reach that far; NEW_OFFSET is the nearest"
            );
        }
    }
    if !args.execute {
        eprintln!("note: this is the plan; --execute carries it out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: ResetArgs,
    }

    fn parsed(flags: &str) -> Result<Value, clap::Error> {
        let words = ["reset", "g"].into_iter().chain(flags.split(' '));
        Alone::try_parse_from(words).map(|a| a.args.body())
    }

    #[test]
    fn every_target_and_scope_is_what_the_service_is_asked() {
        for (flags, body) in [
            ("--all-topics --to-earliest", json!({ "to": "earliest" })),
            (
                "--all-topics --to-latest --execute",
                json!({ "to": "latest" }),
            ),
            (
                "--all-topics --to-current --dry-run",
                json!({ "to": "current" }),
            ),
            (
                "--all-topics --shift-by -5",
                json!({ "to": { "shift_by": -5 } }),
            ),
            (
                "--all-topics --to-time 1700",
                json!({ "to": { "timestamp": 1700 } }),
            ),
            (
                "--all-topics --to-datetime 1970-01-01T00:00:01.500",
                json!({ "to": { "timestamp": 1500 } }),
            ),
            (
                "--topic a --topic b:0,3 --to-offset 7",
                json!({
                    "to": { "offset": 7 },
                    "topics": [{ "topic": "a" }, { "topic": "b", "partitions": [0, 3] }],
                }),
            ),
        ] {
            assert_eq!(parsed(flags).unwrap(), body, "{flags}");
        }
    }

    #[test]
    fn contradictions_and_gaps_are_refused_by_name() {
        for (flags, named) in [
            ("--all-topics", "--to-earliest"),
            ("--to-earliest", "--topic"),
            ("--all-topics --topic t --to-earliest", "--all-topics"),
            ("--all-topics --to-earliest --to-latest", "--to-latest"),
            ("--all-topics --to-latest --dry-run --execute", "--execute"),
            ("--topic t:a --to-latest", "\"a\""),
            ("--topic t:-1 --to-latest", "\"-1\""),
            ("--all-topics --to-time yesterday", "yesterday"),
            ("--all-topics --to-offset -1", "-1"),
        ] {
            let refused = parsed(flags).unwrap_err().to_string();
            assert!(refused.contains(named), "{flags}: {refused}");
        }
    }
}
