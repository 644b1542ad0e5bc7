//! `tidemark unclean-seal`.

use clap::{ArgMatches, Args};
use serde_json::{Value, json};
use tidemark_lease::SealedExtent;
use tidemark_types::ShardId;

use super::{CliError, Output, settings};
use crate::roles;

/// `tidemark unclean-seal`.
#[derive(Args, Debug)]
pub(super) struct UncleanSealArgs {
    /// The shard that stays closed; `tidemark status` and the log name it.
    shard: u32,
    /// Accept that the records in the damaged range are lost.
    #[arg(long)]
    accept_loss: bool,
    /// Instead, go on without the shard's state object, which is gone or damaged, when the disks are gone too and the shard
    /// stays closed for it. Sequences of producers whose records were deleted since, and idempotency keys, are forgotten.
    #[arg(long)]
    without_state: bool,
}

/// Seals a damaged shard of a stopped service without the damaged range.
pub(super) fn unclean_seal(
    args: &UncleanSealArgs,
    matches: Option<&ArgMatches>,
    out: Output,
) -> Result<(), CliError> {
    if !args.accept_loss && args.without_state {
        return Err(CliError::local(
            "needs_consent",
            format!("go on without the state object of shard {}", args.shard),
            "what only it knows of producers is lost for good",
            "Restore the object from a copy if you can. Otherwise stop the service and repeat with --accept-loss.",
        ));
    }
    if !args.accept_loss {
        return Err(CliError::local(
            "needs_consent",
            format!("seal shard {} without its damaged range", args.shard),
            "acked records in that range are lost for good",
            "Restore the disk if you can. Otherwise stop the service and repeat with --accept-loss.",
        ));
    }
    let settings = settings::load(matches)?.settings;
    let doing = match args.without_state {
        true => "go on without the state object of shard",
        false => "seal shard",
    };
    let failed = |cause: String| {
        CliError::local(
            "unclean_seal",
            format!("{doing} {}", args.shard),
            cause,
            "Stop the service first; its log names the damaged shards.",
        )
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    if args.without_state {
        let given_up = runtime
            .block_on(roles::give_up_state(&settings, ShardId(args.shard)))
            .map_err(|e| failed(e.to_string()))?;
        let (object, lsn) = (given_up.row.object.to_string(), given_up.row.lsn.0);
        let text = format!(
            "shard {} goes on without its state object {object} of lsn {lsn}: {}",
            args.shard, given_up.why
        );
        let state = json!({ "object": object, "lsn": lsn, "why": given_up.why });
        return out.done(&json!({ "shard": args.shard, "state": state }), &text);
    }
    let sealed = runtime
        .block_on(roles::unclean_seal(&settings, ShardId(args.shard)))
        .map_err(|e| failed(e.to_string()))?;
    let answer = json!({ "shard": args.shard, "lost": sealed.lost.iter().map(lost_json).collect::<Vec<_>>() });
    let text = match sealed.lost.len() {
        0 => format!("shard {} sealed; nothing was lost", args.shard),
        _ => {
            let lost: Vec<String> = sealed.lost.iter().map(lost_text).collect();
            format!(
                "shard {} sealed; given up:\n  {}",
                args.shard,
                lost.join("\n  ")
            )
        }
    };
    out.done(&answer, &text)
}

fn lost_json(extent: &SealedExtent) -> Value {
    let lost = extent.lost.as_ref();
    json!({
        "extent": extent.extent.id.index.0,
        "from_lsn": lost.map(|l| l.from.0),
        "to_lsn": lost.and_then(|l| l.to).map(|to| to.0),
        "why": lost.map(|l| l.why.as_str()),
    })
}

fn lost_text(extent: &SealedExtent) -> String {
    let Some(lost) = &extent.lost else {
        return extent.extent.id.to_string();
    };
    let to = lost
        .to
        .map_or_else(|| "an unknown end".to_owned(), |to| format!("lsn {to}"));
    format!(
        "{}: lsn {} to {to}: {}",
        extent.extent.id, lost.from, lost.why
    )
}
