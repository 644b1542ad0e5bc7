//! A peer's process: installed, started, asked what it used, stopped by its own id.
#![expect(
    clippy::disallowed_methods,
    reason = "the room for other servers' files and processes"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidemark_runtime::Clock;

use super::{Options, Peer};
use crate::LoadError;
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::run::{Foreign, Host, Later, run};
use crate::scenario::{Protocol, Scenario};
use crate::shared::Target;

/// How long a server may take to its first ack: one with many partitions takes minutes.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long it may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// What stands for the names in a peer's file.
#[derive(Clone, Debug)]
pub struct Places(Vec<(&'static str, String)>);

impl Places {
    fn new(options: &Options, data: &Path, ports: [u16; 4]) -> Self {
        let path = |p: &Path| p.to_string_lossy().into_owned();
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/peers").to_owned();
        let [kafka, http, nats, other] = ports.map(|p| p.to_string());
        Self(vec![
            ("{cache}", path(&options.cache)),
            ("{data}", path(data)),
            ("{here}", here),
            ("{tidemark}", path(&options.tidemark)),
            ("{kafka}", kafka),
            ("{http}", http),
            ("{nats}", nats),
            ("{other}", other),
        ])
    }

    fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.0.iter().fold(text.to_owned(), fill)
    }

    fn command(&self, words: &[String]) -> Result<Command, LoadError> {
        let mut words = words.iter().map(|w| self.fill(w));
        let program = words.next().ok_or_else(|| LoadError::Usage {
            what: "a peer's command is empty".to_owned(),
            hint: "write the program and its arguments as a list of strings".to_owned(),
        })?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        Ok(command)
    }
}

/// Brings a peer onto the machine, once.
///
/// # Errors
/// Names the command that failed.
pub(super) fn install(peer: &Peer, options: &Options) -> Result<(), LoadError> {
    let places = Places::new(options, Path::new(""), [0; 4]);
    let makes = places.fill(&peer.install.makes);
    if makes.is_empty() || Path::new(&makes).exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&options.cache).map_err(LoadError::system("make the cache folder"))?;
    for words in &peer.install.run {
        finish(
            &mut places.command(words)?,
            &format!("install {}", peer.name),
        )?;
    }
    if Path::new(&makes).exists() {
        return Ok(());
    }
    let what = format!("install {}", peer.name);
    Err(LoadError::broken(
        what,
        format!("its commands did not make {makes}"),
    ))
}

fn finish(command: &mut Command, what: &str) -> Result<(), LoadError> {
    let done = command.stdout(Stdio::null()).output();
    let done = done.map_err(LoadError::system(format!("{what}: {command:?}")))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let why = format!(
        "{command:?} ended with {}: {}",
        done.status,
        last.join(" | ")
    );
    Err(LoadError::broken(what, why))
}

/// A running peer.
#[derive(Debug)]
pub struct Server {
    peer: Peer,
    places: Places,
    data: PathBuf,
    target: Target,
    child: Option<Child>,
}

impl Server {
    /// Starts `peer` on an empty folder; also gives how long it took from the process's start to the first ack.
    ///
    /// # Errors
    /// When it cannot be started or does not acknowledge within five minutes.
    pub async fn start(peer: &Peer, options: &Options) -> Result<(Self, Duration), LoadError> {
        let data = options
            .data
            .join(format!("{}-{}", peer.name, std::process::id()));
        remove(&data)?;
        std::fs::create_dir_all(&data).map_err(LoadError::system("make a data folder"))?;
        let ports = free_ports()?;
        let places = Places::new(options, &data, ports);
        let [kafka, http, nats, _] = ports.map(|p| format!("127.0.0.1:{p}"));
        let speaks = |p| peer.protocols.contains(&p);
        let target = Target {
            kafka: speaks(Protocol::Kafka).then_some(kafka),
            http: speaks(Protocol::Http).then_some(http),
            nats: speaks(Protocol::Nats).then_some(nats),
        };
        for (name, text) in &peer.files {
            let path = data.join(name);
            let written = std::fs::write(&path, places.fill(text));
            written.map_err(LoadError::system(format!("write {}", path.display())))?;
        }
        for words in &peer.format {
            finish(
                &mut places.command(words)?,
                &format!("format {}", peer.name),
            )?;
        }
        let mut server = Self {
            peer: peer.clone(),
            places,
            data,
            target,
            child: None,
        };
        let took = server.spawn().await?;
        Ok((server, took))
    }

    /// Its addresses.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// What its process used so far.
    #[must_use]
    pub fn usage_now(&self) -> Option<Usage> {
        self.child.as_ref().and_then(|c| process::usage(c.id()))
    }

    async fn spawn(&mut self) -> Result<Duration, LoadError> {
        let path = self.data.join("server.log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path);
        let log = log.map_err(LoadError::system("open the server's log"))?;
        let err = log
            .try_clone()
            .map_err(LoadError::system("open the server's log"))?;
        let mut command = self.places.command(&self.peer.start)?;
        for (name, value) in &self.peer.env {
            command.env(name, self.places.fill(value));
        }
        let clock = Clock::system();
        let begin = clock.now();
        let child = command.stdout(log).stderr(err).spawn();
        let child = child.map_err(LoadError::system(format!("start {}", self.peer.name)))?;
        self.child = Some(child);
        loop {
            let tried = self.first_ack().await;
            if tried.is_ok() {
                return Ok(clock.now() - begin);
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|c| c.try_wait().ok().flatten());
            if ended.is_some() || clock.now() > begin + PATIENCE {
                let said = std::fs::read_to_string(&path).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(8).collect();
                let why = format!("no ack ({ended:?}); its log ends: {}", last.join(" | "));
                return Err(LoadError::broken(format!("start {}", self.peer.name), why));
            }
            clock.sleep(ASK_AGAIN).await;
        }
    }

    async fn first_ack(&self) -> Result<(), LoadError> {
        let protocol = match self.peer.protocols[0] {
            Protocol::Kafka => "kafka",
            Protocol::Http => "http",
            Protocol::Nats => "nats",
        };
        let text = format!(
            "name = \"first ack\"\n[topics]\npartitions = 1\n[[phases]]\nname = \"one\"\nrecords = 1\n\
             [phases.produce]\nprotocol = \"{protocol}\"\nsequential = true\nidempotent = false\n"
        );
        let scenario = Scenario::parse(&text)?;
        let mut host = Foreign {
            name: String::new(),
            pid: None,
        };
        run(&scenario, self.target(), &mut host, &Progress::default()).await?;
        Ok(())
    }

    /// SIGTERM, then waits, then SIGKILL; removes the data.
    ///
    /// # Errors
    /// When its data cannot be removed.
    pub async fn stop(mut self) -> Result<(), LoadError> {
        self.end().await;
        remove(&self.data)
    }

    async fn end(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _sent = Command::new("kill").arg(child.id().to_string()).status();
        let clock = Clock::system();
        let deadline = clock.now() + STOP_PATIENCE;
        while matches!(child.try_wait(), Ok(None)) && clock.now() < deadline {
            clock.sleep(Duration::from_millis(10)).await;
        }
        let _killed = child.kill();
        let _reaped = child.wait();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Host for Server {
    fn name(&self) -> String {
        self.peer.name.clone()
    }

    fn usage(&self) -> Option<Usage> {
        self.usage_now()
    }

    fn restart(&mut self, kill: bool) -> Later<'_, Duration> {
        Box::pin(async move {
            match kill {
                true => self.kill(),
                false => self.end().await,
            }
            self.spawn().await
        })
    }
}

fn remove(folder: &Path) -> Result<(), LoadError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(LoadError::system(format!("remove {}", folder.display()))(e))
        }
        _ => Ok(()),
    }
}

/// Four free loopback ports; held open together, so that they differ.
fn free_ports() -> Result<[u16; 4], LoadError> {
    let mut held = Vec::new();
    let mut ports = [0; 4];
    for port in &mut ports {
        let bound = TcpListener::bind("127.0.0.1:0");
        let listener = bound.map_err(LoadError::system("find a free port"))?;
        let address = listener
            .local_addr()
            .map_err(LoadError::system("find a free port"))?;
        *port = address.port();
        held.push(listener);
    }
    Ok(ports)
}
