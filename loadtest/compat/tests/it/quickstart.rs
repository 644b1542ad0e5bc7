//! The README's quick start, executed as written.

use std::process::{Child, Command, Stdio};

use tidemark_compat::{eventually, get, release_binary, repository, tools};

/// The fenced shell blocks of the README's section `heading`, in order.
fn shell_blocks(readme: &str, heading: &str) -> Vec<String> {
    let section = readme
        .split("\n## ")
        .find(|s| s.starts_with(heading))
        .expect("the README has the section");
    section
        .split("```sh\n")
        .skip(1)
        .map(|b| b.split("```").next().unwrap().to_owned())
        .collect()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // cargo is the parent of the server: the whole group goes.
        let group = format!("-{}", self.0.id());
        let _stopped = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _reaped = self.0.wait();
    }
}

#[test]
fn the_quick_start_works_as_written() {
    use std::os::unix::process::CommandExt;
    release_binary();
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let mut blocks = shell_blocks(&readme, "Quick start").into_iter();
    tools::with(
        || tools::program("kcat", "kcat", "-V"),
        |_| {
            let fresh = tempfile::tempdir().unwrap();
            let serve = blocks.next().expect("the first block serves");
            // A data folder of its own, so that the test leaves no trace; everything else is as written.
            let server = Command::new("bash")
                .args(["-ec", &serve])
                .current_dir(repository())
                .env("TIDEMARK_NODE_DATA_DIR", fresh.path())
                .stdout(Stdio::null())
                .process_group(0)
                .spawn()
                .expect("the first block starts");
            let _server = Running(server);
            eventually("the quick start's server is ready", || {
                get("http://127.0.0.1:8080/readyz").is_ok()
            });
            for (block, said) in blocks.zip(["hello from kcat", "hello from curl"]) {
                let ran = Command::new("bash")
                    .args(["-ec", &block])
                    .current_dir(repository())
                    .output()
                    .unwrap();
                let out = String::from_utf8_lossy(&ran.stdout);
                assert!(
                    ran.status.success() && out.contains(said),
                    "block:\n{block}\nsaid:\n{out}"
                );
            }
        },
    );
}
