//! `tidemark status`.

use serde_json::Value;

use super::client::Api;
use super::output::{array, cell};
use super::{CliError, Output};

/// Shows the service's state and that of each shard.
pub(super) fn run(api: &Api, out: Output) -> Result<(), CliError> {
    let status = api.get("/v1/status")?;
    if !out.json {
        let field = |key: &str| cell(&status[key]);
        out.line(&format!(
            "tidemark {} · cluster {} · node {} · up {} s",
            field("version"),
            field("cluster_id"),
            field("node_id"),
            seconds_up(&status)
        ))?;
    }
    if !out.json {
        for note in array(&status, "notes") {
            out.line(&format!("note: {}", cell(note)))?;
        }
    }
    let columns = ["shard", "state", "epoch", "partitions", "why"];
    out.show(&status, &columns, |status| {
        let row = |s: &Value| columns.map(|k| cell(&s[k])).to_vec();
        array(status, "shards").iter().map(row).collect()
    })
}

fn seconds_up(status: &Value) -> u64 {
    status["uptime_ms"].as_u64().unwrap_or_default() / 1000
}
