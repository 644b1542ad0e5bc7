//! `tidemark serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Args};
use tidemark_telemetry::{LogConfig, Metrics, init_logs};
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, settings};
use crate::config::{Loaded, Settings};
use crate::roles::{self, Service, StartError};

/// How long threads may take to end once everything was drained or given up.
const STOP: Duration = Duration::from_secs(2);
/// Of the runtime's threads: what they do between two waits is mostly shorter.
const SLICE: Duration = Duration::from_micros(500);

/// `tidemark serve`.
#[derive(Args, Debug, Default)]
pub(super) struct ServeArgs {
    /// Go on without a write-ahead log whose disk is gone for good, with what the object store holds. What was not tiered
    /// is lost. Without need for it, it does nothing.
    #[arg(long)]
    rebuild: bool,
}

/// Runs the service until a signal or a failure.
pub(super) fn run(args: &ServeArgs, matches: Option<&ArgMatches>) -> Result<(), CliError> {
    let Loaded {
        mut settings,
        warnings,
        ..
    } = settings::load(matches)?;
    let logs = LogConfig {
        filter: settings.log_output.filter.clone(),
        format: settings.log_output.format,
    };
    init_logs(&logs).map_err(|e| {
        CliError::local(
            "config",
            "set up the log",
            e,
            "Write log_output.filter as `info` or `warn,tidemark_log=debug`.",
        )
    })?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = roles::fit(roles::raise_limit(), &mut settings) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .on_thread_start(|| tidemark_runtime::ask_for_slices(SLICE))
        .enable_all()
        .build()
        .map_err(|e| {
            CliError::local(
                "runtime",
                "start the runtime",
                e,
                "The system refuses threads: raise its limits.",
            )
        })?;
    let served = runtime.block_on(serve(&settings, args.rebuild));
    // A start that was given up may have left a thread that reads a disk: the process does not wait for it.
    runtime.shutdown_timeout(STOP);
    served
}

/// What `start` comes to, or nothing when `stopped` comes first.
async fn unless<T>(stopped: impl Future<Output = ()>, start: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stopped => None,
        started = start => Some(started),
    }
}

async fn serve(settings: &Settings, rebuild: bool) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let metrics =
        Metrics::install().map_err(|e| CliError::local("metrics", "set up metrics", e, ""))?;
    let stopped = async {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let start = Box::pin(Service::start(settings, Arc::new(metrics), rebuild));
    let Some(started) = unless(stopped, start).await else {
        // Nothing was acked yet, and the next start takes over from whatever this one had begun.
        tracing::info!("stopped while starting");
        return Ok(());
    };
    let service = started.map_err(|e| refused(&e))?;
    welcome(&service, settings);
    let failure = tokio::select! {
        biased;
        failure = service.failed() => Some(failure),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    tracing::info!("draining");
    let drained = service.drain(settings.node.drain.0).await;
    if let Some(failure) = failure {
        let cause = failure.map_or_else(|| "a listener was lost".to_owned(), |f| f.to_string());
        return Err(CliError::local(
            "failed",
            "serve",
            cause,
            "The log above has the details; starting again recovers all that was acked.",
        ));
    }
    drained.map_err(|held_by| {
        CliError::local(
            "drain",
            "drain within node.drain",
            format!("still running: {}", held_by.join(", ")),
            "Nothing acked is lost: the next start takes over.",
        )
    })
}

fn refused(error: &StartError) -> CliError {
    let (code, hint) = match error {
        StartError::DiskGone(_) => (
            "disk_gone",
            "If the disk, or its mount, can be brought back, do that: then nothing is lost. If it is gone for good, \
             `tidemark serve --rebuild` goes on with what the object store holds.",
        ),
        StartError::MetadataGone { .. } => (
            "metadata_gone",
            "Restore the metadata from where it was. To begin anew instead, use an empty data folder, and an empty bucket \
             or prefix.",
        ),
        _ => (
            "start",
            "`tidemark config` shows the settings in effect and where each came from.",
        ),
    };
    CliError::local(code, "start the service", error, hint)
}

/// Says where it listens and what to try next.
fn welcome(service: &Service, settings: &Settings) {
    let (kafka, http) = (service.kafka_addr(), service.http_addr());
    println!(
        "tidemark {} serves Kafka on {kafka} and HTTP on {http}; data in {}\n\n\
         try:  echo hello | kcat -P -b {kafka} -t greetings\n      \
         curl -s 'http://{http}/v1/topics/greetings/partitions/0/records?from=earliest'\n      \
         {}",
        env!("CARGO_PKG_VERSION"),
        settings.node.data_dir.display(),
        list_topics(http),
    );
}

/// The command that lists this service's topics: it names the address unless the command line would find it anyway.
fn list_topics(http: SocketAddr) -> String {
    if http == Settings::default().http.listen {
        return "tidemark topic list".to_owned();
    }
    format!("tidemark topic list --url http://{http}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_ends_a_start_that_takes_long() {
        let never = std::future::pending::<()>();
        assert_eq!(unless(std::future::ready(()), never).await, None);
        let never = std::future::pending();
        assert_eq!(unless(never, std::future::ready(1)).await, Some(1));
    }

    #[test]
    fn the_suggested_command_reaches_this_service() {
        let usual = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert_eq!(list_topics(usual), "tidemark topic list");
        let other = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(
            list_topics(other),
            "tidemark topic list --url http://127.0.0.1:9"
        );
    }
}
