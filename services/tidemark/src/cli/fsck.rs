//! `tidemark fsck`.

use clap::ArgMatches;
use serde_json::{Value, json};
use tidemark_journal::{ExtentId, ExtentInfo, Inventory};

use super::output::{array, cell};
use super::{CliError, Output, settings};
use crate::roles::{Audit, Checked, Fsck, fsck};

/// Checks the data folder and prints what it holds; fails when something is damaged.
pub(super) fn run(matches: Option<&ArgMatches>, out: Output) -> Result<(), CliError> {
    let settings = settings::load(matches)?.settings;
    let what = format!("check {}", settings.node.data_dir.display());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let found = runtime.block_on(fsck(&settings)).map_err(|e| {
        CliError::local(
            "fsck",
            &what,
            e,
            "node.data_dir (--node-data-dir) names the folder that a service wrote.",
        )
    })?;
    print(&found, out)?;
    if found.is_sound() {
        return Ok(());
    }
    let (ranges, extents) = (found.wal.damage.len(), found.damaged().count());
    let cold = found.cold.as_ref();
    let cause = format!(
        "{ranges} damaged ranges, {extents} damaged extents, {} that are not there as sealed, {} objects gone or damaged, {} gaps",
        found.missing.len(),
        cold.map_or(0, |cold| cold.bad.len()),
        cold.map_or(0, |cold| cold.uncovered.len()),
    );
    Err(CliError::local(
        "damaged",
        what,
        cause,
        "Restore the disk, or the objects, if you can. `tidemark unclean-seal SHARD --accept-loss` opens a damaged shard without what is lost.",
    ))
}

fn print(found: &Fsck, out: Output) -> Result<(), CliError> {
    let value = value(found);
    if !out.json {
        out.line(&summary(found))?;
        for line in notes(found) {
            out.line(&line)?;
        }
    }
    let columns = ["shard", "extent", "state", "first", "end", "bytes", "why"];
    out.show(&value, &columns, |value| {
        let row = |e: &Value| columns.map(|k| cell(&e[k])).to_vec();
        array(value, "extents").iter().map(row).collect()
    })
}

fn summary(found: &Fsck) -> String {
    let (segments, free) = found.wal.segments;
    let checked = match &found.metadata {
        Checked::Rows(rows) => format!("{rows} extent rows in the metadata checked against it"),
        Checked::No(why) => format!("only the WAL was checked, not the metadata: {why}"),
    };
    let cold = found.cold.as_ref().map_or_else(String::new, |cold| {
        format!(
            " · {} objects of {} bytes read whole, {} on their way",
            cold.objects, cold.bytes, cold.passing
        )
    });
    format!(
        "{} · node {} · {segments} segments, {free} free · {checked}{cold}",
        found.folder, found.wal.node
    )
}

/// What is wrong, or worth knowing, a line each.
fn notes(found: &Fsck) -> Vec<String> {
    let damage = found.wal.damage.iter().map(ToString::to_string);
    let missing = found.missing.iter();
    let missing = missing.map(|m| format!("{}: {}", m.extent, m.why));
    let unreferenced = found.unreferenced.iter();
    let unreferenced = unreferenced.map(|e| format!("{e} is in the WAL, but not in the metadata"));
    let foreign = found.wal.foreign.iter();
    let foreign = foreign.map(|name| format!("{name} was written under another disk cookie"));
    damage
        .chain(missing)
        .chain(unreferenced)
        .chain(foreign)
        .chain(found.cold.iter().flat_map(cold_notes))
        .collect()
}

fn cold_notes(cold: &Audit) -> impl Iterator<Item = String> {
    let bad = cold.bad.iter();
    let bad = bad.map(|o| format!("object {}: {}", o.key, o.why));
    let uncovered = cold.uncovered.iter();
    let uncovered = uncovered.map(|u| format!("shard {}: {}", u.shard, u.why));
    let orphans = cold.orphans.iter();
    let orphans = orphans.map(|o| {
        let (key, bytes) = (&o.key, o.bytes);
        format!("object {key} of {bytes} bytes is named by nothing: it may be deleted")
    });
    bad.chain(uncovered).chain(orphans)
}

fn value(found: &Fsck) -> Value {
    let damage: Vec<Value> = found
        .wal
        .damage
        .iter()
        .map(|d| json!({ "file": d.file, "from": d.from, "to": d.to, "why": d.why }))
        .collect();
    let extents: Vec<Value> = found.wal.extents.iter().map(extent).collect();
    let missing: Vec<Value> = found
        .missing
        .iter()
        .map(|m| json!({ "shard": m.extent.shard.0, "extent": m.extent.index.0, "why": m.why }))
        .collect();
    let address = |e: &ExtentId| json!({ "shard": e.shard.0, "extent": e.index.0 });
    let (rows, not_checked) = match &found.metadata {
        Checked::Rows(rows) => (Some(rows), None),
        Checked::No(why) => (None, Some(why)),
    };
    json!({
        "sound": found.is_sound(),
        "folder": found.folder,
        "node": found.wal.node.to_string(),
        "segments": found.wal.segments.0,
        "segments_free": found.wal.segments.1,
        "metadata": { "rows": rows, "not_checked": not_checked },
        "damage": damage,
        "missing": missing,
        "unreferenced": found.unreferenced.iter().map(address).collect::<Vec<_>>(),
        "foreign": found.wal.foreign,
        "cold": found.cold.as_ref().map(cold),
        "extents": extents,
    })
}

fn cold(found: &Audit) -> Value {
    let bad = found.bad.iter();
    let uncovered = found.uncovered.iter();
    let orphans = found.orphans.iter();
    json!({
        "objects": found.objects,
        "bytes": found.bytes,
        "passing": found.passing,
        "bad": bad.map(|o| json!({ "object": o.key, "why": o.why })).collect::<Vec<_>>(),
        "uncovered": uncovered
            .map(|u| json!({ "shard": u.shard.0, "why": u.why }))
            .collect::<Vec<_>>(),
        "orphans": orphans
            .map(|o| json!({ "object": o.key, "bytes": o.bytes }))
            .collect::<Vec<_>>(),
    })
}

fn extent(info: &ExtentInfo) -> Value {
    let (state, first, end, why) = match &info.inventory {
        Inventory::Held { first, end } => ("held", Some(first.0), Some(end.0), None),
        Inventory::Limbo { from, why } => ("damaged", None, Some(from.0), Some(why)),
        Inventory::Absent => ("absent", None, None, None),
    };
    json!({
        "shard": info.extent.shard.0,
        "extent": info.extent.index.0,
        "state": state,
        "first": first,
        "end": end,
        "bytes": info.bytes,
        "why": why,
    })
}
