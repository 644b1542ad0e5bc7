//! The clients' toolchains. What a machine lacks is installed with the machine's own package managers;
//! what cannot be had is named: in CI (`CI=true`) that fails the test, elsewhere the test says that it did not run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Something a test needs and could not get.
#[derive(Debug)]
pub struct Missing(String);

/// Runs `test` with what `prepare` made, or names what is missing.
///
/// # Panics
/// In CI, when something is missing: a skipped test must not look green there.
pub fn with<T>(prepare: impl FnOnce() -> Result<T, Missing>, test: impl FnOnce(T)) {
    match prepare() {
        Ok(tool) => test(tool),
        Err(Missing(what)) if std::env::var_os("CI").is_some_and(|v| v == "true") => {
            panic!("not available: {what}")
        }
        Err(Missing(what)) => eprintln!("DID NOT RUN: not available: {what}"),
    }
}

/// Where toolchains are kept between runs.
fn work_dir() -> PathBuf {
    let dir = crate::repository().join("loadtest/compat/.work");
    std::fs::create_dir_all(&dir).expect("the work folder can be made");
    dir
}

fn clients() -> PathBuf {
    crate::repository().join("loadtest/compat/clients")
}

fn run(command: &mut Command, what: &str) -> Result<(), Missing> {
    match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Missing(format!("{what} ({command:?} ended with {status})"))),
        Err(e) => Err(Missing(format!("{what} ({command:?}: {e})"))),
    }
}

fn works(program: &str, arg: &str) -> bool {
    Command::new(program)
        .arg(arg)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// One installation at a time: the suites run in parallel.
static INSTALLING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// A program of the operating system, installed with apt where the user may.
///
/// # Errors
/// Names the program when it is neither there nor installable.
pub fn program(
    name: &'static str,
    package: &'static str,
    probe: &str,
) -> Result<&'static str, Missing> {
    let _one = INSTALLING.lock();
    if !works(name, probe) {
        let what = format!("{name} (Debian package {package})");
        run(Command::new("apt-get").args(["update", "-qq"]), &what)?;
        run(
            Command::new("apt-get").args([
                "install",
                "-qq",
                "-y",
                "--no-install-recommends",
                package,
            ]),
            &what,
        )?;
    }
    Ok(name)
}

/// A Python interpreter that has the clients of `requirements.txt`.
///
/// # Errors
/// When Python, venv or the packages cannot be had.
pub fn python() -> Result<PathBuf, Missing> {
    let _one = INSTALLING.lock();
    let venv = work_dir().join("python");
    let python = venv.join("bin/python");
    let requirements = clients().join("python/requirements.txt");
    if !up_to_date(&venv, &requirements) {
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&venv),
            "python3 with venv",
        )?;
        let mut pip = Command::new(&python);
        run(
            pip.args(["-m", "pip", "install", "-q", "-r"])
                .arg(&requirements),
            "the Python clients (pip)",
        )?;
        remember(&venv, &requirements);
    }
    Ok(python)
}

/// A folder with the JavaScript client and its modules.
///
/// # Errors
/// When Node.js, npm or the package cannot be had.
pub fn javascript() -> Result<PathBuf, Missing> {
    let _one = INSTALLING.lock();
    let dir = work_dir().join("javascript");
    let source = clients().join("javascript");
    std::fs::create_dir_all(&dir).expect("the work folder can be made");
    for file in ["package.json", "client.js"] {
        std::fs::copy(source.join(file), dir.join(file)).expect("the client is in the tree");
    }
    if !up_to_date(&dir, &source.join("package.json")) {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&dir);
        run(&mut npm, "kafkajs (npm)")?;
        remember(&dir, &source.join("package.json"));
    }
    Ok(dir)
}

/// A Java class path with the compiled programs of `clients/java/src`.
///
/// # Errors
/// When a JDK, Maven or the client library cannot be had.
pub fn java() -> Result<String, Missing> {
    let _one = INSTALLING.lock();
    let dir = work_dir().join("java");
    let pom = clients().join("java/pom.xml");
    std::fs::create_dir_all(&dir).expect("the work folder can be made");
    if !up_to_date(&dir, &pom) {
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "dependency:copy-dependencies", "-f"])
            .arg(&pom);
        mvn.arg(format!("-DoutputDirectory={}", dir.join("lib").display()));
        run(&mut mvn, "the Java client (Maven)")?;
        remember(&dir, &pom);
    }
    let class_path = format!("{0}/lib/*:{0}/classes", dir.display());
    let mut javac = Command::new("javac");
    javac
        .args(["-cp", &class_path, "-d"])
        .arg(dir.join("classes"))
        .args(java_sources());
    run(&mut javac, "a JDK (javac)")?;
    Ok(class_path)
}

fn java_sources() -> Vec<PathBuf> {
    let files = std::fs::read_dir(clients().join("java/src")).expect("the sources are in the tree");
    files
        .map(|file| file.expect("the sources can be listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "java"))
        .collect()
}

/// The Python clients' sources.
#[must_use]
pub fn python_client(file: &str) -> PathBuf {
    clients().join("python").join(file)
}

/// Whether `dir` was made from `source` as it is now.
fn up_to_date(dir: &Path, source: &Path) -> bool {
    let made_from = std::fs::read(dir.join(".made-from")).unwrap_or_default();
    !made_from.is_empty() && std::fs::read(source).is_ok_and(|now| now == made_from)
}

fn remember(dir: &Path, source: &Path) {
    std::fs::copy(source, dir.join(".made-from")).expect("the work folder takes files");
}
