//! A real S3 server: versitygw, started by the test on a loopback port over a folder of its own.
//!
//! Where it is not installed it is built with Go, once per machine. What cannot be had is named: in CI (`CI=true`) that
//! fails the test, elsewhere the test says that it did not run. `TIDEMARK_TEST_S3=endpoint,access,secret` names another
//! server (a MinIO, say) for a second run of the same suite.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidemark_blob::BlobStore;
use tidemark_blob::s3::{S3, S3Config, S3Credentials};
use tidemark_runtime::{Clock, Entropy, Tasks};

use crate::engines::{Env, decorated};

/// Pinned: a fresh clone tests what was tested here.
const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
const ACCESS: &str = "tidemark";
const SECRET: &str = "tidemark-secret";

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: String,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Again, on the same port and objects.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let address = self.endpoint.trim_start_matches("http://");
        self.child = spawn(&program().unwrap(), address, &self.folder);
    }

    /// Takes a bucket away with all that is in it, as an operator's mistake does.
    pub(crate) fn remove_bucket(&self, bucket: &str) {
        for below in ["objects", "metadata"] {
            let _ = std::fs::remove_dir_all(self.folder.path().join(below).join(bucket));
        }
    }
}

/// An engine over a fresh bucket of a server of its own.
pub(crate) async fn versitygw() -> Option<Env> {
    let server = start()?;
    let store = ready(config(&server.endpoint, ACCESS, SECRET)).await;
    Some(Env::held_by(Arc::new(store), Box::new(server)))
}

/// The same, as the service decorates it and under a prefix.
pub(crate) async fn decorated_versitygw() -> Option<Env> {
    let server = start()?;
    let mut config = config(&server.endpoint, ACCESS, SECRET);
    let outer = ready(config.clone()).await;
    config.prefix = "some/where".into();
    let inner = S3::connect(config, &Tasks::new()).await.unwrap();
    let env = Env::held_by(
        decorated(Arc::new(inner)),
        Box::new((server, outer.clone())),
    );
    // A stranger's objects beside ours are never seen.
    for name in ["some/wherever", "a", "some/other/b"] {
        outer.put(env.new_put(name, "a stranger's")).await.unwrap();
    }
    Some(env)
}

/// A fresh bucket of the server that the environment names.
pub(crate) async fn named_s3() -> Option<Env> {
    let named = std::env::var("TIDEMARK_TEST_S3").ok()?;
    let mut parts = named.split(',');
    let mut part = || {
        parts
            .next()
            .expect("TIDEMARK_TEST_S3=endpoint,access,secret")
    };
    let (endpoint, access, secret) = (part(), part(), part());
    let mut config = config(endpoint, access, secret);
    config.bucket = format!("test-{:016x}", Entropy::system().next_u64());
    Some(Env::held_by(Arc::new(ready(config).await), Box::new(())))
}

pub(crate) fn config(endpoint: &str, access: &str, secret: &str) -> S3Config {
    S3Config {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".into(),
        path_style: true,
        credentials: Some(S3Credentials {
            access_key: access.to_owned(),
            secret_key: secret.to_owned(),
        }),
        ..S3Config::new("tests")
    }
}

/// A server with no bucket yet, for tests of what goes wrong.
pub(crate) async fn bare() -> Option<(Server, S3Config)> {
    let server = start()?;
    let mut ready_config = config(&server.endpoint, ACCESS, SECRET);
    ready_config.bucket = "other".into();
    ready(ready_config).await;
    let config = config(&server.endpoint, ACCESS, SECRET);
    Some((server, config))
}

/// Makes the bucket, which tells that the server is up.
pub(crate) async fn ready(config: S3Config) -> S3 {
    let clock = Clock::system();
    let store = S3::connect(config, &Tasks::new()).await.unwrap();
    for _ in 0..500 {
        match store.create_bucket().await {
            Ok(()) => return store,
            Err(e) if e.to_string().contains("refused") => {
                clock.sleep(Duration::from_millis(20)).await
            }
            Err(e) => panic!("{e}"),
        }
    }
    panic!("the S3 server did not come up within 10 s");
}

fn start() -> Option<Server> {
    match program() {
        Ok(program) => Some(serve(&program)),
        Err(why) if std::env::var_os("CI").is_some_and(|v| v == "true") => {
            panic!("not available: {why}")
        }
        Err(why) => {
            eprintln!("DID NOT RUN: not available: {why}");
            None
        }
    }
}

fn serve(program: &PathBuf) -> Server {
    let folder = TempDir::new().unwrap();
    for name in ["objects", "metadata"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    // Another process may take it in between: then the server does not come up, and the test says so.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    Server {
        child: spawn(program, &address, &folder),
        endpoint: format!("http://{address}"),
        folder,
    }
}

fn spawn(program: &PathBuf, address: &str, folder: &TempDir) -> Child {
    Command::new(program)
        .args([
            "--quiet",
            "--keep-alive",
            "--access",
            ACCESS,
            "--secret",
            SECRET,
        ])
        .args(["--port", address, "posix", "--sidecar"])
        .args([
            folder.path().join("metadata"),
            folder.path().join("objects"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("versitygw starts")
}

/// One installation at a time: the tests run in parallel.
static INSTALLING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Where it is: built into the user's cache, so that the next clone finds it.
fn program() -> Result<PathBuf, String> {
    let _one = INSTALLING.lock();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let version = MODULE.rsplit('@').next().unwrap_or_default();
    let folder = cache
        .ok_or("a home folder")?
        .join("tidemark")
        .join(format!("versitygw-{version}"));
    let program = folder.join("versitygw");
    if program.exists() {
        return Ok(program);
    }
    let what = || format!("versitygw (go install {MODULE})");
    let mut go = Command::new("go");
    go.args(["install", MODULE])
        .env("GOBIN", &folder)
        .env("GOFLAGS", "");
    match go.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(format!("{}: ended with {status}", what())),
        Err(e) => Err(format!("{}: {e}", what())),
    }
}
