//! Asking a running service for what only it can look at.

use serde::Deserialize;
use serde_json::Value;
use tidemark_log::{AuditEvent, AuditTotals, ExtentStatus, Finding};
use tidemark_types::{ExtentIdx, Lsn, NodeId, ShardId};

use super::super::CliError;
use super::super::client::Api;
use crate::config::{ByteCount, Settings};
use crate::roles::{Audit, BadObject, Fsck, Orphan, StartError, Uncovered, fsck_beside};

/// What the service says of its extents.
#[derive(Deserialize)]
struct Extents {
    node_id: u64,
    extents: Vec<Extent>,
}

#[derive(Deserialize)]
struct Extent {
    shard: u32,
    extent: u64,
    first: u64,
    end: Option<u64>,
    replicas: Vec<u64>,
    lost_from: Option<u64>,
}

/// A line of its audit.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Progress {},
    Done(Totals),
    Bad {
        object: String,
        why: String,
    },
    Uncovered {
        shard: u32,
        why: String,
    },
    Orphan {
        object: String,
        bytes: u64,
        own: bool,
    },
    Failed {
        error: Value,
    },
}

#[derive(Deserialize)]
struct Totals {
    objects: u64,
    bytes: u64,
    passing: u64,
    changed: u64,
    unchecked: u64,
    omitted: u64,
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let hint = "node.data_dir (--node-data-dir) names the folder that a service wrote.";
        Self::local("fsck", "check the write-ahead log", error, hint)
    }
}

/// Checks a service whose data folder is on this machine.
pub(super) async fn beside(
    settings: &Settings,
    api: &Api,
    rate: Option<ByteCount>,
) -> Result<Fsck, CliError> {
    let rows = |node: Option<NodeId>| {
        let (answering, extents) = extents(api)?;
        match node {
            Some(node) if node != answering => Err(CliError::local(
                "other_service",
                format!("check {}", settings.node.data_dir.display()),
                format!(
                    "the service that answers is node {answering}, the folder is node {node}'s"
                ),
                "Name the address of the service that uses the folder with --url or TIDEMARK_URL.",
            )),
            _ => Ok(extents),
        }
    };
    let found = fsck_beside(settings, rows).await?;
    Ok(Fsck {
        cold: audit(api, rate)?,
        ..found
    })
}

/// Checks what a service elsewhere can check itself.
pub(super) fn elsewhere(api: &Api, rate: Option<ByteCount>) -> Result<Fsck, CliError> {
    let (_, extents) = extents(api)?;
    Ok(Fsck {
        cold: audit(api, rate)?,
        ..Fsck::elsewhere(extents.len())
    })
}

fn extents(api: &Api) -> Result<(NodeId, Vec<ExtentStatus>), CliError> {
    let answer = api.get("/v1/extents")?;
    let answer: Extents = serde_json::from_value(answer).map_err(not_understood)?;
    let extents = answer.extents.into_iter().map(|extent| ExtentStatus {
        shard: ShardId(extent.shard),
        index: ExtentIdx(extent.extent),
        first: Lsn(extent.first),
        end: extent.end.map(Lsn),
        replicas: extent.replicas.into_iter().map(NodeId).collect(),
        lost_from: extent.lost_from.map(Lsn),
    });
    Ok((NodeId(answer.node_id), extents.collect()))
}

/// The object store against the metadata; `None` when the service runs without one.
fn audit(api: &Api, rate: Option<ByteCount>) -> Result<Option<Audit>, CliError> {
    let query = rate.map_or_else(String::new, |rate| format!("?bytes_per_s={}", rate.0));
    let lines = match api.post_for_lines(&format!("/v1/audit{query}")) {
        Err(CliError::Service { code, .. }) if code == "policy_violation" => return Ok(None),
        lines => lines?,
    };
    let mut found = Audit::default();
    for line in lines {
        match serde_json::from_str(&line?).map_err(not_understood)? {
            Line::Failed { error } => return Err(CliError::problem(&error)),
            Line::Done(totals) => {
                found.add(AuditEvent::Done(totals.into()));
                return Ok(Some(found));
            }
            Line::Progress {} => {}
            other => found.add(AuditEvent::Found(finding(other)?)),
        }
    }
    Err(CliError::local(
        "cut_short",
        "check the objects",
        "the answer ended before the check did",
        "The service is stopping, or something between closed the connection: try again.",
    ))
}

fn finding(line: Line) -> Result<Finding, CliError> {
    Ok(match line {
        Line::Bad { object: key, why } => Finding::Bad(BadObject { key, why }),
        Line::Uncovered { shard, why } => {
            let shard = ShardId(shard);
            Finding::Uncovered(Uncovered { shard, why })
        }
        Line::Orphan {
            object: key,
            bytes,
            own,
        } => Finding::Orphan(Orphan { key, bytes, own }),
        Line::Progress {} | Line::Done(_) | Line::Failed { .. } => {
            return Err(not_understood("a line of another kind"));
        }
    })
}

impl From<Totals> for AuditTotals {
    fn from(totals: Totals) -> Self {
        Self {
            objects: totals.objects,
            bytes: totals.bytes,
            passing: totals.passing,
            changed: totals.changed,
            unchecked: totals.unchecked,
            omitted: totals.omitted,
        }
    }
}

fn not_understood(why: impl ToString) -> CliError {
    CliError::local(
        "bad_answer",
        "read the service's answer",
        why,
        "Use the `tidemark` of the service's own version.",
    )
}
