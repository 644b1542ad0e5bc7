//! `tidemark fsck`.

mod running;

use clap::{ArgMatches, Args};
use serde_json::{Value, json};
use tidemark_journal::{ExtentId, ExtentInfo, Inventory};

use super::client::Api;
use super::output::{array, cell};
use super::{CliError, Output, settings};
use crate::config::{ByteCount, Settings};
use crate::roles::{Audit, Checked, Fsck, Looked, fsck};

/// What mends damage of the WAL.
const SEAL: &str = "restore the disk, if you can; `tidemark unclean-seal SHARD --accept-loss` opens the shard of the stopped service \
    without what is lost";
/// What becomes of extents that the metadata does not know.
const UNREFERENCED: &str =
    "nothing: the service gives it up by itself when it starts or makes room next";
/// What to do with files of another life of the disk.
const FOREIGN: &str = "the service does not read it: delete it if nothing of it is needed";
/// What cannot be said of a service that runs.
const WHILE_RUNNING: &str = "the service runs: where its open extents end was not checked, since they grow, and damage of the \
    write-ahead log counts only when it was found three times";
/// What is not to be seen from elsewhere.
const ELSEWHERE: &str =
    "the write-ahead log was not checked: it is not in the data folder of this machine";

/// `tidemark fsck`.
#[derive(Args, Debug)]
pub(super) struct FsckArgs {
    /// Of a running service: how much of its objects it reads per second at the most, such as `100MiB`. 32 MiB by default.
    #[arg(long, value_name = "BYTES")]
    read_rate: Option<ByteCount>,
}

/// Checks the data folder and prints what it holds; fails when something is damaged. A service that has the folder open is asked
/// to check itself, and so is the one that `named` leads to when the folder is not here.
pub(super) fn run(
    args: &FsckArgs,
    matches: Option<&ArgMatches>,
    named: Option<&Api>,
    out: Output,
) -> Result<(), CliError> {
    let settings = settings::load(matches)?.settings;
    let found = look(&settings, named, args.read_rate)?;
    print(&found, out)?;
    if found.is_sound() {
        return Ok(());
    }
    let (ranges, extents) = (found.damage().len(), found.damaged().count());
    let cold = found.cold.as_ref();
    let cause = format!(
        "{ranges} damaged ranges, {extents} damaged extents, {} that are not there as sealed, {} objects gone or damaged, {} gaps",
        found.missing.len(),
        cold.map_or(0, |cold| cold.bad.len()),
        cold.map_or(0, |cold| cold.uncovered.len()),
    );
    Err(CliError::local(
        "damaged",
        what(&settings),
        cause,
        "Restore the disk, or the objects, if you can. `tidemark unclean-seal SHARD --accept-loss` opens a damaged shard without what is lost.",
    ))
}

fn what(settings: &Settings) -> String {
    format!("check {}", settings.node.data_dir.display())
}

fn look(
    settings: &Settings,
    named: Option<&Api>,
    rate: Option<ByteCount>,
) -> Result<Fsck, CliError> {
    let is_here = settings.node.data_dir.join("wal").is_dir();
    if let Some(api) = named.filter(|_| !is_here) {
        return running::elsewhere(api, rate);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let looked = runtime.block_on(fsck(settings)).map_err(|e| {
        CliError::local(
            "fsck",
            what(settings),
            e,
            "node.data_dir (--node-data-dir) names the folder that a service wrote.",
        )
    })?;
    match (looked, named) {
        (Looked::Stopped(found), _) => Ok(*found),
        (Looked::Running, Some(api)) => runtime.block_on(running::beside(settings, api, rate)),
        (Looked::Running, None) => {
            let api = Api::new(&format!("http://{}", settings.http.listen));
            runtime.block_on(running::beside(settings, &api, rate))
        }
    }
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
    let checked = match &found.metadata {
        Checked::Rows(rows) if found.wal.is_some() => {
            format!("{rows} extent rows in the metadata checked against it")
        }
        Checked::Rows(rows) => format!("{rows} extent rows"),
        Checked::No(why) => format!("only the WAL was checked, not the metadata: {why}"),
    };
    let cold = found.cold.as_ref().map_or_else(String::new, |cold| {
        let totals = cold.totals;
        format!(
            " · {} objects of {} bytes read whole, {} on their way",
            totals.objects, totals.bytes, totals.passing
        )
    });
    match &found.wal {
        None => format!("{checked}{cold}"),
        Some(wal) => {
            let ((segments, free), node) = (wal.segments, wal.node);
            let folder = &found.folder;
            format!("{folder} · node {node} · {segments} segments, {free} free · {checked}{cold}")
        }
    }
}

/// What was not checked, and why.
fn limits(found: &Fsck) -> Vec<String> {
    let mut limits = Vec::new();
    if found.wal.is_none() {
        limits.push(ELSEWHERE.to_owned());
    } else if found.running {
        limits.push(WHILE_RUNNING.to_owned());
    }
    match &found.cold {
        None if found.running => {
            limits.push(
                "the service runs without an object store: no objects were checked".to_owned(),
            );
        }
        Some(cold) if cold.totals.unchecked > 0 => limits.push(format!(
            "{} shards changed too fast for their coverage to be checked; their objects were",
            cold.totals.unchecked
        )),
        _ => {}
    }
    limits
}

/// What is wrong, or worth knowing, a line each, and one for what mends it.
fn notes(found: &Fsck) -> Vec<String> {
    let with = |what: String, repair: &str| format!("{what}\n  repair: {repair}");
    let damage = found.damage().iter();
    let damage = damage.map(|d| with(d.to_string(), SEAL));
    let missing = found.missing.iter();
    let missing = missing.map(|m| with(format!("{}: {}", m.extent, m.why), SEAL));
    let unreferenced = found.unreferenced.iter().map(|extent| {
        let what = format!("{extent} is in the WAL, but not in the metadata");
        with(what, UNREFERENCED)
    });
    let foreign = found.wal.iter().flat_map(|wal| &wal.foreign);
    let foreign = foreign.map(|name| {
        let what = format!("{name} was written under another disk cookie");
        with(what, FOREIGN)
    });
    let mut notes = limits(found);
    notes.extend(damage.chain(missing).chain(unreferenced).chain(foreign));
    let Some(cold) = &found.cold else {
        return notes;
    };
    let bad = cold.bad.iter();
    notes.extend(bad.map(|o| with(format!("object {}: {}", o.key, o.why), o.repair())));
    let uncovered = cold.uncovered.iter();
    notes.extend(uncovered.map(|u| with(format!("shard {}: {}", u.shard, u.why), u.repair())));
    if cold.totals.omitted > 0 {
        let more = cold.totals.omitted;
        notes.push(format!(
            "{more} more gaps and overlaps like these are left out: of each shard the first 1,000 are told"
        ));
    }
    notes.extend(cold.orphans.iter().map(|o| {
        let (key, bytes) = (&o.key, o.bytes);
        let what = format!("object {key} of {bytes} bytes is named by nothing");
        with(what, o.repair())
    }));
    notes
}

fn value(found: &Fsck) -> Value {
    let damage = found.damage().iter().map(
        |d| json!({ "file": d.file, "from": d.from, "to": d.to, "why": d.why, "repair": SEAL }),
    );
    let missing = found.missing.iter().map(|m| {
        let (shard, extent) = (m.extent.shard.0, m.extent.index.0);
        json!({ "shard": shard, "extent": extent, "why": m.why, "repair": SEAL })
    });
    let unreferenced =
        |e: &ExtentId| json!({ "shard": e.shard.0, "extent": e.index.0, "repair": UNREFERENCED });
    let foreign = |file: &String| json!({ "file": file, "repair": FOREIGN });
    let (rows, not_checked) = match &found.metadata {
        Checked::Rows(rows) => (Some(rows), None),
        Checked::No(why) => (None, Some(why)),
    };
    let wal = found.wal.as_ref();
    json!({
        "sound": found.is_sound(),
        "running": found.running,
        "limits": limits(found),
        "folder": found.folder,
        "node": wal.map(|wal| wal.node.to_string()),
        "segments": wal.map(|wal| wal.segments.0),
        "segments_free": wal.map(|wal| wal.segments.1),
        "metadata": { "rows": rows, "not_checked": not_checked },
        "damage": damage.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "unreferenced": found.unreferenced.iter().map(unreferenced).collect::<Vec<_>>(),
        "foreign": wal.map(|wal| wal.foreign.iter().map(foreign).collect::<Vec<_>>()),
        "cold": found.cold.as_ref().map(cold),
        "extents": found.extents().iter().map(extent).collect::<Vec<_>>(),
    })
}

fn cold(found: &Audit) -> Value {
    let totals = found.totals;
    let bad = found.bad.iter();
    let bad = bad.map(|o| json!({ "object": o.key, "why": o.why, "repair": o.repair() }));
    let uncovered = found.uncovered.iter();
    let uncovered =
        uncovered.map(|u| json!({ "shard": u.shard.0, "why": u.why, "repair": u.repair() }));
    let orphans = found.orphans.iter();
    let orphans = orphans
        .map(|o| json!({ "object": o.key, "bytes": o.bytes, "own": o.own, "repair": o.repair() }));
    json!({
        "objects": totals.objects,
        "bytes": totals.bytes,
        "passing": totals.passing,
        "changed": totals.changed,
        "unchecked": totals.unchecked,
        "omitted": totals.omitted,
        "bad": bad.collect::<Vec<_>>(),
        "uncovered": uncovered.collect::<Vec<_>>(),
        "orphans": orphans.collect::<Vec<_>>(),
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
