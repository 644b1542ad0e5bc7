//! Shell completions.

/// Prints the completion script of `shell`.
pub(super) fn print(shell: clap_complete::Shell, mut command: clap::Command) {
    clap_complete::generate(shell, &mut command, "tidemark", &mut std::io::stdout());
}
