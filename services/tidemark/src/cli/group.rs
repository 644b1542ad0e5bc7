//! `tidemark group`.

mod reset;

use clap::Subcommand;
use serde_json::Value;

use super::client::{Api, escaped};
use super::output::{array, cell};
use super::{CliError, Output};

/// What to do with consumer groups.
#[derive(Subcommand, Debug)]
pub(super) enum GroupCommand {
    /// List all groups.
    List,
    /// Show a group's state and members.
    Describe {
        /// The group's id.
        group: String,
    },
    /// Show a group's committed offsets and how far it lags.
    Offsets {
        /// The group's id.
        group: String,
    },
    /// Move a group's committed offsets. Prints the plan unless --execute is given.
    ResetOffsets(reset::ResetArgs),
    /// Delete a group without members, with its committed offsets.
    Delete {
        /// The group's id.
        group: String,
    },
}

/// Runs a group command.
pub(super) fn run(command: &GroupCommand, api: &Api, out: Output) -> Result<(), CliError> {
    let (value, key, columns): (Value, &str, &[&str]) = match command {
        GroupCommand::ResetOffsets(args) => return reset::run(args, api, out),
        GroupCommand::Delete { group } => {
            let gone = api.delete(&format!("/v1/groups/{}", escaped(group)))?;
            return out.done(&gone, &format!("deleted group {group}"));
        }
        GroupCommand::List => (
            api.get("/v1/groups")?,
            "groups",
            &["group", "state", "protocol_type"],
        ),
        GroupCommand::Describe { group } => {
            let found = api.get(&format!("/v1/groups/{}", escaped(group)))?;
            (
                found,
                "members",
                &["member_id", "client_id", "client_host", "instance_id"],
            )
        }
        GroupCommand::Offsets { group } => {
            let found = api.get(&format!("/v1/groups/{}/offsets", escaped(group)))?;
            if array(&found, "offsets").is_empty() {
                // Nothing committed, or no such group: the description tells.
                api.get(&format!("/v1/groups/{}", escaped(group)))?;
            }
            (
                found,
                "offsets",
                &["topic", "partition", "offset", "high_watermark", "lag"],
            )
        }
    };
    if let (GroupCommand::Describe { group }, false) = (command, out.json) {
        out.line(&format!(
            "group {group} · {} · {}",
            cell(&value["state"]),
            cell(&value["protocol"])
        ))?;
    }
    out.show(&value, columns, |value| {
        array(value, key)
            .iter()
            .map(|row| columns.iter().map(|c| cell(&row[*c])).collect())
            .collect()
    })
}
