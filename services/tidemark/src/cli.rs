//! The command line.

mod client;
mod completions;
mod consume;
mod error;
mod fsck;
mod group;
#[cfg(test)]
mod infra_tests;
mod output;
mod produce;
mod repair;
mod serve;
mod settings;
mod status;
mod topic;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use error::CliError;
use output::Output;

/// Where commands find the service, and how they print.
#[derive(Parser, Debug)]
#[command(
    name = "tidemark",
    version,
    about = "A serverless-style cloud log: Kafka and HTTP over one log"
)]
struct Cli {
    /// The service's HTTP address.
    #[arg(
        long,
        global = true,
        env = "TIDEMARK_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the service: every role in this process. The default command.
    Serve(serve::ServeArgs),
    /// Create, list, describe, change and delete topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Append records: from the arguments, or a line of standard input each.
    Produce(produce::ProduceArgs),
    /// Read records: from an offset, a time or the beginning, and follow.
    Consume(consume::ConsumeArgs),
    /// List and describe consumer groups, move their offsets, delete them.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show whether the service is ready and what each shard does.
    Status,
    /// Check everything a service holds, stopped or running: the write-ahead log, the metadata, every object. Repairs nothing; says what would.
    Fsck(fsck::FsckArgs),
    /// Give up the damaged part of a stopped service's shard, explicitly. What it held is lost.
    UncleanSeal(repair::UncleanSealArgs),
    /// Print the effective settings, or the reference of all of them.
    Config(settings::ConfigArgs),
    /// Print a shell's completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Parses the arguments, runs the command, prints an error with its code, cause and hint.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    match run(&cli, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::PipeClosed) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", error.rendered(cli.json));
            ExitCode::FAILURE
        }
    }
}

/// The whole command tree; settings appear as flags of the commands that take them.
fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("serve", settings::with_flags)
        .mut_subcommand("fsck", settings::with_flags)
        .mut_subcommand("unclean-seal", settings::with_flags)
        .mut_subcommand("config", settings::with_flags)
}

fn run(cli: &Cli, matches: &clap::ArgMatches) -> Result<(), CliError> {
    let api = client::Api::new(&cli.url);
    let out = Output { json: cli.json };
    let sub = matches.subcommand().map(|(_, m)| m);
    match &cli.command {
        None => serve::run(&serve::ServeArgs::default(), sub),
        Some(Command::Serve(args)) => serve::run(args, sub),
        Some(Command::Topic(args)) => topic::run(args, &api, out),
        Some(Command::Produce(args)) => produce::run(args, &api, out),
        Some(Command::Consume(args)) => consume::run(args, &api, out),
        Some(Command::Group(args)) => group::run(args, &api, out),
        Some(Command::Status) => status::run(&api, out),
        Some(Command::Fsck(args)) => {
            let named = matches.value_source("url") != Some(ValueSource::DefaultValue);
            fsck::run(args, sub, named.then_some(&api), out)
        }
        Some(Command::UncleanSeal(args)) => repair::unclean_seal(args, sub, out),
        Some(Command::Config(args)) => settings::run(args, sub, out),
        Some(Command::Completions { shell }) => {
            completions::print(*shell, command());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_of_serve() {
        for doc in crate::config::SETTINGS {
            let flag = format!("--{}", doc.flag());
            let parsed = command().try_get_matches_from(["tidemark", "serve", &flag, "1"]);
            assert!(parsed.is_ok(), "{flag}: {parsed:?}");
        }
    }
}
