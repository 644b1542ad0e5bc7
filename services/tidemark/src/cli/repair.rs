//! `tidemark unclean-seal`.

use clap::{ArgMatches, Args};
use serde_json::json;
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
}

/// Seals a damaged shard of a stopped service without the damaged range.
pub(super) fn unclean_seal(
    args: &UncleanSealArgs,
    matches: Option<&ArgMatches>,
    out: Output,
) -> Result<(), CliError> {
    if !args.accept_loss {
        return Err(CliError::local(
            "needs_consent",
            format!("seal shard {} without its damaged range", args.shard),
            "acked records in that range are lost for good",
            "Restore the disk if you can. Otherwise stop the service and repeat with --accept-loss.",
        ));
    }
    let settings = settings::load(matches)?.settings;
    let failed = |cause: String| {
        CliError::local(
            "unclean_seal",
            format!("seal shard {}", args.shard),
            cause,
            "Stop the service first; its log names the damaged shards.",
        )
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let sealed = runtime
        .block_on(roles::unclean_seal(&settings, ShardId(args.shard)))
        .map_err(|e| failed(e.to_string()))?;
    let lost: Vec<String> = sealed
        .lost
        .iter()
        .map(|extent| format!("{extent:?}"))
        .collect();
    let answer = json!({ "shard": args.shard, "lost": lost });
    let text = match lost.len() {
        0 => format!("shard {} sealed; nothing was lost", args.shard),
        _ => format!("shard {} sealed; lost: {}", args.shard, lost.join("; ")),
    };
    out.done(&answer, &text)
}
