//! `tidemark produce`.

use std::io::{BufRead, BufReader, stdin};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
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
    /// How values stand in the arguments or lines. Keys are text.
    #[arg(long, value_enum, default_value_t = Encoding::Utf8)]
    encoding: Encoding,
    /// Append tombstones: each argument or line is the key of a record without a value.
    #[arg(long, conflicts_with_all = ["key", "key_delimiter", "encoding"])]
    tombstone: bool,
    /// A header of every record, `name=value`. May be repeated.
    #[arg(short = 'H', long = "header", value_parser = pair)]
    headers: Vec<(String, String)>,
}

/// How a value is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Encoding {
    /// Text.
    Utf8,
    /// The bytes of the line as they are, text or not.
    Raw,
    /// Two hexadecimal digits a byte.
    Hex,
    /// Standard base64 with padding.
    Base64,
    /// A JSON value; its text is the value.
    Json,
}

/// Appends the records and prints where each stands.
pub(super) fn run(args: &ProduceArgs, api: &Api, out: Output) -> Result<(), CliError> {
    if !args.values.is_empty() {
        let values: Vec<&[u8]> = args.values.iter().map(String::as_bytes).collect();
        return send(args, &values, api, out);
    }
    let mut input = BufReader::new(stdin().lock());
    loop {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut ended = false;
        // One line is waited for; what else is there already goes with it.
        while !ended
            && (lines.is_empty()
                || (input.buffer().contains(&b'\n') && lines.len() < RECORDS_PER_REQUEST))
        {
            let mut line = Vec::new();
            ended = input.read_until(b'\n', &mut line)? == 0;
            if !ended {
                while line.pop_if(|b| matches!(b, b'\r' | b'\n')).is_some() {}
                lines.push(line);
            }
        }
        if !lines.is_empty() {
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            send(args, &lines, api, out)?;
        }
        if ended {
            return Ok(());
        }
    }
}

fn send(args: &ProduceArgs, values: &[&[u8]], api: &Api, out: Output) -> Result<(), CliError> {
    let records = values.iter().map(|given| record(args, given));
    let records: Vec<Value> = records.collect::<Result<_, _>>()?;
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

fn record(args: &ProduceArgs, given: &[u8]) -> Result<Value, CliError> {
    let mut record = if args.tombstone {
        json!({ "key": text(given)?, "value": null })
    } else {
        let (key, given) = split(args, given);
        let mut record = value(args.encoding, given)?;
        if let Some(key) = key {
            record["key"] = json!(text(key)?);
        }
        record
    };
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
    Ok(record)
}

/// Key and value of what was given.
fn split<'a>(args: &'a ProduceArgs, given: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    let delimiter = args.key_delimiter.as_deref().map(str::as_bytes);
    let found = delimiter.filter(|d| !d.is_empty()).and_then(|d| {
        let at = given.windows(d.len()).position(|w| w == d)?;
        Some((&given[..at], &given[at + d.len()..]))
    });
    match found {
        Some((key, value)) => (Some(key), value),
        None => (args.key.as_deref().map(str::as_bytes), given),
    }
}

/// A record with this value, as the service takes it.
fn value(encoding: Encoding, given: &[u8]) -> Result<Value, CliError> {
    let binary = |bytes: &[u8]| json!({ "value": BASE64_STANDARD.encode(bytes), "value_encoding": "base64" });
    match encoding {
        Encoding::Utf8 => Ok(json!({ "value": text(given)? })),
        Encoding::Raw => Ok(binary(given)),
        Encoding::Hex => match unhex(given) {
            Some(bytes) => Ok(binary(&bytes)),
            None => Err(malformed("hex", "two digits 0-9 a-f a byte are expected")),
        },
        Encoding::Base64 => match BASE64_STANDARD.decode(given) {
            Ok(bytes) => Ok(binary(&bytes)),
            Err(error) => Err(malformed("base64", error)),
        },
        Encoding::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(given) {
            Ok(_) => Ok(binary(given)),
            Err(error) => Err(malformed("json", error)),
        },
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

fn text(given: &[u8]) -> Result<&str, CliError> {
    std::str::from_utf8(given).map_err(|error| {
        let hint = "--encoding raw takes lines as they are; hex and base64 take any bytes.";
        CliError::local("not_text", "read a record", error, hint)
    })
}

fn malformed(encoding: &str, why: impl std::fmt::Display) -> CliError {
    let what = format!("read a value as {encoding}");
    CliError::local(
        "bad_value",
        what,
        why,
        "--encoding says how values are written down.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_bytes_are_written_down_in_five_ways() {
        let sent = |encoding, given: &[u8]| {
            let sent = value(encoding, given).ok()?;
            let text = sent["value"].as_str()?.to_owned();
            Some(match sent["value_encoding"].as_str() {
                Some("base64") => BASE64_STANDARD.decode(text).ok()?,
                _ => text.into_bytes(),
            })
        };
        assert_eq!(
            sent(Encoding::Utf8, "\u{fc}".as_bytes()),
            Some("\u{fc}".into())
        );
        assert_eq!(sent(Encoding::Utf8, b"\xff"), None);
        assert_eq!(sent(Encoding::Raw, b"\xff\0"), Some(b"\xff\0".to_vec()));
        assert_eq!(sent(Encoding::Hex, b"fF00"), Some(vec![0xff, 0]));
        assert_eq!(sent(Encoding::Hex, b"f"), None);
        assert_eq!(sent(Encoding::Hex, b"+1"), None);
        assert_eq!(sent(Encoding::Base64, b"/w=="), Some(vec![0xff]));
        assert_eq!(sent(Encoding::Base64, b"/w"), None);
        assert_eq!(
            sent(Encoding::Json, b"{\"a\": 1}"),
            Some(b"{\"a\": 1}".to_vec())
        );
        assert_eq!(sent(Encoding::Json, b"{"), None);
        let refused = value(Encoding::Utf8, b"\xff").unwrap_err().rendered(false);
        assert!(refused.contains("--encoding raw"), "{refused}");
    }
}
