//! `tidemark-loadtest`: makes load and tells what came of it.
#![expect(
    clippy::disallowed_methods,
    reason = "a command line reads and writes files"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidemark_loadtest::instructions::{Ratchet, Verdict, measure};
use tidemark_loadtest::peers::{Comparison, Options, Peer, compare};
use tidemark_loadtest::progress::Progress;
use tidemark_loadtest::report::Report;
use tidemark_loadtest::run::{Foreign, run};
use tidemark_loadtest::scenario::Scenario;
use tidemark_loadtest::shared::Target;
use tidemark_loadtest::{LoadError, html as pages};

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
        /// Writes the report as a page with charts.
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Starts servers in turn on this machine and compares them under the same load.
    Peers(Peers),
    /// Counts the instructions of the server's hot paths and compares them with what they may be. Needs valgrind.
    Instructions(Instructions),
    /// Makes the page of side-by-side runs out of their JSON.
    Report {
        /// What `peers` wrote.
        json: Vec<PathBuf>,
        /// Where the page goes.
        #[arg(long, default_value = "index.html")]
        html: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Peers {
    /// The scenarios' files.
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// The peers' files or names; the first is compared with the others.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "tidemark,kafka,kafka-fsync,nats"
    )]
    peers: Vec<String>,
    /// Rounds of each.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    #[command(flatten)]
    places: PlacesArgs,
    /// Where the results go: a JSON file per scenario and one page.
    #[arg(long, default_value = "loadtest/results")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Instructions {
    /// The paths and what each may cost.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))]
    ratchet: PathBuf,
    /// Only paths whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    #[command(flatten)]
    places: PlacesArgs,
}

/// Where a run finds and leaves what it needs.
#[derive(Debug, Args)]
struct PlacesArgs {
    /// Tidemark's binary.
    #[arg(long, default_value = "target/release/tidemark")]
    tidemark: PathBuf,
    /// Where peers are installed, kept between runs.
    #[arg(long, default_value = "loadtest/bench/.cache")]
    cache: PathBuf,
    /// Where the servers' data goes while they run.
    #[arg(long, default_value = "loadtest/bench/.data")]
    data: PathBuf,
}

impl PlacesArgs {
    fn options(&self, rounds: u32, command: String) -> Result<Options, LoadError> {
        let absolute =
            |p: &Path| std::path::absolute(p).map_err(LoadError::system("find the folder"));
        Ok(Options {
            rounds: rounds.max(1),
            cache: absolute(&self.cache)?,
            data: absolute(&self.data)?,
            tidemark: absolute(&self.tidemark)?,
            command,
        })
    }
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
            html,
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
            if let Some(html) = html {
                write(&html, &pages::of_runs(std::slice::from_ref(&report)))?;
            }
            print!("{}", tidemark_loadtest::text::of_run(&report));
            Ok(report.findings.is_clean())
        }
        Command::Peers(peers) => side_by_side(peers).await.map(|()| true),
        Command::Instructions(asked) => instructions(asked).await,
        Command::Report { json, html } => {
            let all: Result<Vec<Comparison>, LoadError> =
                json.iter().map(|p| from_json(p)).collect();
            write(&html, &pages::of_comparisons(&all?))?;
            Ok(true)
        }
    }
}

async fn side_by_side(asked: Peers) -> Result<(), LoadError> {
    let peers: Result<Vec<Peer>, LoadError> = asked.peers.iter().map(|p| read_peer(p)).collect();
    let command = format!(
        "tidemark-loadtest peers --rounds {} --peers {}",
        asked.rounds,
        asked.peers.join(",")
    );
    let options = asked.places.options(asked.rounds, command)?;
    let peers = peers?;
    std::fs::create_dir_all(&asked.out).map_err(LoadError::system("make the results' folder"))?;
    let mut all = Vec::new();
    for path in &asked.scenarios {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(LoadError::system(format!("read {}", path.display())))?;
        let mut comparison = compare(&text, &peers, &options).await?;
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        comparison.command = format!("{} {name}.toml", comparison.command);
        print!("{}", tidemark_loadtest::text::of_comparison(&comparison));
        let json = serde_json::to_string_pretty(&comparison);
        let json = json.map_err(|e| LoadError::broken("write JSON", e))?;
        write(&asked.out.join(format!("{name}.json")), &json)?;
        all.push(comparison);
        // After each, so that a run that is cut short leaves what it has.
        write(&asked.out.join("index.html"), &pages::of_comparisons(&all))?;
    }
    Ok(())
}

/// Measures every path; false when one costs more than it may.
async fn instructions(asked: Instructions) -> Result<bool, LoadError> {
    let text = std::fs::read_to_string(&asked.ratchet);
    let read = LoadError::system(format!("read {}", asked.ratchet.display()));
    let ratchet = Ratchet::parse(&text.map_err(read)?)?;
    let options = asked.places.options(1, String::new())?;
    std::fs::create_dir_all(&options.cache).map_err(LoadError::system("make the cache folder"))?;
    let tidemark = read_peer("tidemark")?;
    let mut held = true;
    for path in ratchet
        .paths
        .iter()
        .filter(|p| p.name.contains(&asked.only))
    {
        let measured = measure(path, &tidemark, &options).await?;
        let said = match ratchet.judge(path, measured) {
            Verdict::Same(_) => "",
            Verdict::Better(_) => ": better, lower its number",
            Verdict::Worse(_) => ": worse than the margin allows",
        };
        held &= !matches!(ratchet.judge(path, measured), Verdict::Worse(_));
        println!(
            "{}: {measured:.0} instructions, its number is {}{said}",
            path.name, path.instructions
        );
    }
    Ok(held)
}

/// A peer by its file, or by its name among the repository's.
fn read_peer(named: &str) -> Result<Peer, LoadError> {
    let own = format!("{}/peers/{named}.toml", env!("CARGO_MANIFEST_DIR"));
    let path = if named.ends_with(".toml") {
        named
    } else {
        &own
    };
    let text = std::fs::read_to_string(path).map_err(LoadError::system(format!("read {path}")))?;
    Peer::parse(&text)
}

fn from_json(path: &Path) -> Result<Comparison, LoadError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(LoadError::system(format!("read {}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|e| LoadError::broken(format!("read {}", path.display()), e))
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
