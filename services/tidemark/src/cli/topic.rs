//! `tidemark topic`.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::client::{Api, escaped};
use super::output::{array, cell};
use super::{CliError, Output};

/// What to do with topics.
#[derive(Subcommand, Debug)]
pub(super) enum TopicCommand {
    /// List all topics.
    List,
    /// Create a topic.
    Create {
        /// The topic's name.
        name: String,
        /// Number of partitions; the service's default when left out.
        #[arg(short, long)]
        partitions: Option<u32>,
        /// A configuration, as in Kafka: `retention.ms=3600000`. May be repeated.
        #[arg(short, long = "config", value_parser = pair)]
        configs: Vec<(String, String)>,
    },
    /// Show a topic's partitions, offsets and configuration.
    Describe {
        /// The topic's name.
        name: String,
    },
    /// Change a topic's configuration or add partitions.
    Alter {
        /// The topic's name.
        name: String,
        /// The new number of partitions; it can only grow.
        #[arg(short, long)]
        partitions: Option<u32>,
        /// Set a configuration. May be repeated.
        #[arg(short, long = "config", value_parser = pair)]
        configs: Vec<(String, String)>,
        /// Return a configuration to its default. May be repeated.
        #[arg(long = "unset")]
        unset: Vec<String>,
    },
    /// Delete a topic with all its records.
    Delete {
        /// The topic's name.
        name: String,
    },
    /// Delete a partition's oldest records.
    DeleteRecords {
        /// The topic's name.
        name: String,
        /// The partition.
        #[arg(short, long)]
        partition: i32,
        /// Those below this offset.
        #[arg(short, long, required_unless_present = "all")]
        before: Option<u64>,
        /// All that are committed now.
        #[arg(long, conflicts_with = "before")]
        all: bool,
    },
}

/// Splits `name=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs a topic command.
pub(super) fn run(command: &TopicCommand, api: &Api, out: Output) -> Result<(), CliError> {
    match command {
        TopicCommand::List => out.show(
            &api.get("/v1/topics")?,
            &["topic", "partitions", "id"],
            |all| {
                let row = |t: &Value| ["name", "partitions", "id"].map(|k| cell(&t[k])).to_vec();
                array(all, "topics").iter().map(row).collect()
            },
        ),
        TopicCommand::Create {
            name,
            partitions,
            configs,
        } => {
            let mut body = json!({ "name": name, "config": object(configs) });
            if let Some(count) = partitions {
                body["partitions"] = json!(count);
            }
            out.done(
                &api.post("/v1/topics", &body)?,
                &format!("created topic {name}"),
            )
        }
        TopicCommand::Describe { name } => describe(&api.get(&path(name))?, out),
        TopicCommand::Alter {
            name,
            partitions,
            configs,
            unset,
        } => {
            let mut config = object(configs);
            config.extend(unset.iter().map(|name| (name.clone(), Value::Null)));
            let mut body = json!({ "config": config });
            if let Some(count) = partitions {
                body["partitions"] = json!(count);
            }
            out.done(
                &api.patch(&path(name), &body)?,
                &format!("changed topic {name}"),
            )
        }
        TopicCommand::Delete { name } => {
            out.done(&api.delete(&path(name))?, &format!("deleted topic {name}"))
        }
        TopicCommand::DeleteRecords {
            name,
            partition,
            before,
            ..
        } => {
            let which = before.map_or("all=true".to_owned(), |before| format!("before={before}"));
            let path = format!("{}/partitions/{partition}/records?{which}", path(name));
            let deleted = api.delete(&path)?;
            let log_start = cell(&deleted["log_start"]);
            let done = format!("partition {partition} of {name} begins at offset {log_start}");
            out.done(&deleted, &done)
        }
    }
}

fn path(name: &str) -> String {
    format!("/v1/topics/{}", escaped(name))
}

fn object(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect()
}

fn describe(topic: &Value, out: Output) -> Result<(), CliError> {
    if !out.json {
        out.line(&format!(
            "topic {} · id {}",
            cell(&topic["name"]),
            cell(&topic["id"])
        ))?;
        for (name, set) in topic["config"].as_object().into_iter().flatten() {
            if set["source"] != "default" {
                out.line(&format!(
                    "  {name} = {} ({})",
                    cell(&set["value"]),
                    cell(&set["source"])
                ))?;
            }
        }
    }
    let columns = ["partition", "log_start", "high_watermark", "leader_epoch"];
    out.show(topic, &columns, |topic| {
        let row = |p: &Value| columns.map(|k| cell(&p[k])).to_vec();
        array(topic, "partitions").iter().map(row).collect()
    })
}
