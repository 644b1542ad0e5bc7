//! `tidemark-loadtest`: makes load and tells what came of it.
#![expect(
    clippy::disallowed_methods,
    reason = "a command line reads and writes files"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidemark_loadtest::LoadError;
use tidemark_loadtest::progress::Progress;
use tidemark_loadtest::report::Report;
use tidemark_loadtest::run::{Foreign, run};
use tidemark_loadtest::scenario::Scenario;
use tidemark_loadtest::shared::Target;

/// Workload generator for servers that speak the Kafka protocol, Tidemark's HTTP API or NATS JetStream.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads of the generator.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one scenario against a server that is there.
    Run {
        /// The scenario's file.
        scenario: PathBuf,
        /// Kafka's bootstrap address.
        #[arg(long, default_value = "127.0.0.1:9092")]
        kafka: String,
        /// Address of the HTTP API.
        #[arg(long, default_value = "127.0.0.1:8080")]
        http: String,
        /// Address of NATS.
        #[arg(long, default_value = "127.0.0.1:4222")]
        nats: String,
        /// The server's process on this machine: adds CPU, memory and written bytes to the report.
        #[arg(long)]
        server_pid: Option<u32>,
        /// The server's name in the report.
        #[arg(long, default_value = "server")]
        name: String,
        /// Writes the report as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.threads.max(1))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(cli.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; false when verification found something.
async fn serve(command: Command) -> Result<bool, LoadError> {
    match command {
        Command::Run {
            scenario,
            kafka,
            http,
            nats,
            server_pid,
            name,
            json,
        } => {
            let scenario = read_scenario(&scenario)?;
            let target = Target {
                kafka: Some(kafka),
                http: Some(http),
                nats: Some(nats),
            };
            let mut host = Foreign {
                name,
                pid: server_pid,
            };
            let report = run(&scenario, target, &mut host, &Progress::default()).await?;
            if let Some(json) = json {
                write(&json, &to_json(&report)?)?;
            }
            print!("{}", tidemark_loadtest::text::of_run(&report));
            Ok(report.findings.is_clean())
        }
    }
}

fn read_scenario(path: &Path) -> Result<Scenario, LoadError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(LoadError::system(format!("read {}", path.display())))?;
    Ok(Scenario::parse(&text)?)
}

fn to_json(report: &Report) -> Result<String, LoadError> {
    serde_json::to_string_pretty(report).map_err(|e| LoadError::broken("write JSON", e))
}

fn write(path: &Path, text: &str) -> Result<(), LoadError> {
    std::fs::write(path, text).map_err(LoadError::system(format!("write {}", path.display())))
}
