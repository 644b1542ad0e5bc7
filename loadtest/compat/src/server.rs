//! One `tidemark serve` process that can be killed and started again on the same ports and data.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::eventually;

/// The binary under test: the one `TIDEMARK_BINARY` names, else the release build, made once per test process.
///
/// # Panics
/// When the build fails; cargo's own words are on standard error.
pub fn release_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(named) = std::env::var_os("TIDEMARK_BINARY") {
            return named.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--release",
                "--package",
                "tidemark",
                "--bin",
                "tidemark",
            ])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(repository())
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "cargo build --release failed");
        String::from_utf8_lossy(&built.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "tidemark")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo names the executable")
    })
}

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A server process.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    data: PathBuf,
    kafka: u16,
    http: u16,
    flags: Vec<String>,
    log: NamedTempFile,
    expected: Vec<&'static str>,
}

impl Server {
    /// Starts a server on free loopback ports and waits until it is ready. `flags` are passed on to `serve`.
    pub fn start(data: &Path, flags: &[&str]) -> Self {
        let (kafka, http) = (free_port(), free_port());
        let flags = flags.iter().map(|f| (*f).to_owned()).collect();
        let mut server = Self {
            child: None,
            data: data.into(),
            kafka,
            http,
            flags,
            log: NamedTempFile::new().expect("a log file can be made"),
            expected: Vec::new(),
        };
        server.restart();
        server
    }

    /// Expects warnings and errors that contain `text`. Any other fails the test when the server is dropped.
    #[must_use]
    pub fn expecting(mut self, text: &'static str) -> Self {
        self.expected.push(text);
        self
    }

    /// The Kafka bootstrap address.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// The first counter of `/metrics` whose line begins with `name`; 0 while there is none. It counts from the process's start.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let text = get(&self.url("/metrics")).expect("metrics are served");
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().last());
        value.and_then(|n| n.parse::<f64>().ok()).map_or(0, |n| {
            #[expect(
                clippy::cast_sign_loss,
                clippy::cast_possible_truncation,
                reason = "a counter"
            )]
            let count = n as u64;
            count
        })
    }

    /// A URL of the HTTP side.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// Starts the process (again), on the same ports and data, and waits until it is ready.
    ///
    /// # Panics
    /// When it exits instead, or is not ready within a minute.
    pub fn restart(&mut self) {
        self.spawn();
        let ready = self.url("/readyz");
        eventually("server is ready", || {
            let child = self.child.as_mut().expect("just spawned");
            if let Some(status) = child.try_wait().expect("child can be asked") {
                panic!("the server exited with {status} before it was ready");
            }
            get(&ready).is_ok()
        });
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .open(self.log.path())
            .expect("the log file is there");
        let mut command = Command::new(release_binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMARK_")) {
            command.env_remove(name);
        }
        let child = command
            .arg("serve")
            .args(["--node-data-dir", &self.data.to_string_lossy()])
            .args(["--kafka-listen", &self.bootstrap()])
            .args(["--http-listen", &format!("127.0.0.1:{}", self.http)])
            .args(["--log-output-filter", "warn"])
            .args(self.bounds())
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
    }

    /// Machines differ in how many descriptors they allow; too few for the settings would be warned of.
    fn bounds(&self) -> impl Iterator<Item = &'static str> {
        let named = |flag: &str| self.flags.iter().any(|f| f == flag);
        let few = ["--kafka-connections-max", "--http-connections-max"];
        let missing: Vec<_> = few.into_iter().filter(|flag| !named(flag)).collect();
        missing.into_iter().flat_map(|flag| [flag, "1000"])
    }

    /// The HTTP side's address.
    #[must_use]
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When no process is running.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a server is running");
        child.kill().expect("the server can be killed");
        child.wait().expect("the server is reaped");
    }

    /// SIGTERM, then waits for the drain.
    ///
    /// # Panics
    /// When no process is running.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a server is running");
        let sent = Command::new("kill")
            .arg(child.id().to_string())
            .status()
            .expect("kill runs");
        assert!(sent.success());
        child.wait().expect("the server is reaped")
    }

    /// Resident memory of the process, bytes.
    ///
    /// # Panics
    /// When no process is running or the system does not tell.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().expect("a server is running").id();
        let status =
            std::fs::read_to_string(format!("/proc/{id}/status")).expect("the system tells");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .expect("resident memory is told");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number of KiB");
        kib * 1024
    }

    /// Creates a topic over HTTP.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_topic(&self, name: &str, partitions: u32) {
        let body = serde_json::json!({ "name": name, "partitions": partitions });
        ureq::post(self.url("/v1/topics"))
            .send_json(body)
            .expect("the topic is created");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
        let said = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let expected = |line: &str| self.expected.iter().any(|text| line.contains(text));
        let bad: Vec<&str> = said.lines().filter(|line| !expected(line)).collect();
        if !bad.is_empty() {
            eprintln!("the server said:\n{said}");
            assert!(
                std::thread::panicking(),
                "unexpected warnings or errors: {bad:#?}"
            );
        }
    }
}

/// GETs a URL's body as text.
///
/// # Errors
/// When the server does not answer 2xx within a few seconds.
pub fn get(url: &str) -> Result<String, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into();
    agent.get(url).call()?.body_mut().read_to_string()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a loopback port is free")
        .port()
}
