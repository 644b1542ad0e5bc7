//! `tidemark`.

use std::process::ExitCode;

/// Frames of all sizes come and go on several threads; the system's allocator keeps more of them than are in use, and
/// spends more on each. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tidemark::cli::main()
}
