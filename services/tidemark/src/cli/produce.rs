//! `tidemark produce`.

use std::io::{BufRead, BufReader, stdin};

use clap::Args;
use serde_json::{Value, json};

use super::client::{Api, escaped};
use super::output::{array, cell};
use super::topic::pair;
use super::{CliError, Output};

/// Records sent in one request at the most: bounds memory and the time a typed line waits.
const RECORDS_PER_REQUEST: usize = 500;

/// `tidemark produce`.
#[derive(Args, Debug)]
pub(super) struct ProduceArgs {
    /// The topic.
    topic: String,
    /// The records' values. Without any, each line of standard input is a record.
    values: Vec<String>,
    /// Partition to append to; by the key's hash, as Kafka's clients do it, when left out.
    #[arg(short, long)]
    partition: Option<u32>,
    /// Key of every record.
    #[arg(short, long, conflicts_with = "key_delimiter")]
    key: Option<String>,
    /// Split each record into key and value at the first occurrence of this text.
    #[arg(long)]
    key_delimiter: Option<String>,
    /// A header of every record, `name=value`. May be repeated.
    #[arg(short = 'H', long = "header", value_parser = pair)]
    headers: Vec<(String, String)>,
}

/// Appends the records and prints where each stands.
pub(super) fn run(args: &ProduceArgs, api: &Api, out: Output) -> Result<(), CliError> {
    if !args.values.is_empty() {
        return send(args, &args.values, api, out);
    }
    let mut input = BufReader::new(stdin().lock());
    loop {
        let mut lines = Vec::new();
        // One line is waited for; what else is there already goes with it.
        while lines.is_empty()
            || (input.buffer().contains(&b'\n') && lines.len() < RECORDS_PER_REQUEST)
        {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return if lines.is_empty() {
                    Ok(())
                } else {
                    send(args, &lines, api, out)
                };
            }
            lines.push(line.trim_end_matches(['\r', '\n']).to_owned());
        }
        send(args, &lines, api, out)?;
    }
}

fn send(args: &ProduceArgs, values: &[String], api: &Api, out: Output) -> Result<(), CliError> {
    let records: Vec<Value> = values.iter().map(|text| record(args, text)).collect();
    let answer = api.post(
        &format!("/v1/topics/{}/records", escaped(&args.topic)),
        &json!({ "records": records }),
    )?;
    if out.json {
        return out.line(&answer.to_string());
    }
    for place in array(&answer, "records") {
        out.line(&format!(
            "{}/{} offset {}",
            args.topic,
            cell(&place["partition"]),
            cell(&place["offset"])
        ))?;
    }
    Ok(())
}

fn record(args: &ProduceArgs, text: &str) -> Value {
    let split = args
        .key_delimiter
        .as_deref()
        .and_then(|d| text.split_once(d));
    let (key, value) = match split {
        Some((key, value)) => (Some(key), value),
        None => (args.key.as_deref(), text),
    };
    let mut record = json!({ "value": value });
    if let Some(key) = key {
        record["key"] = json!(key);
    }
    if let Some(partition) = args.partition {
        record["partition"] = json!(partition);
    }
    if !args.headers.is_empty() {
        let headers: Vec<Value> = args
            .headers
            .iter()
            .map(|(k, v)| json!({ "key": k, "value": v }))
            .collect();
        record["headers"] = json!(headers);
    }
    record
}
