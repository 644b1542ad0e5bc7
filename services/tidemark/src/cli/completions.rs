//! Shell completions.

use std::io::Write;

/// Prints the completion script of `shell`.
pub(super) fn print(shell: clap_complete::Shell, command: clap::Command) {
    write(shell, command, &mut std::io::stdout());
}

fn write(shell: clap_complete::Shell, mut command: clap::Command, to: &mut dyn Write) {
    clap_complete::generate(shell, &mut command, "tidemark", to);
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use clap_complete::Shell;

    fn names(command: &clap::Command, into: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            into.push(sub.get_name().to_owned());
            names(sub, into);
        }
    }

    #[test]
    fn every_shells_script_names_every_command() {
        let command = crate::cli::command();
        let mut wanted = Vec::new();
        names(&command, &mut wanted);
        for known in ["serve", "reset-offsets", "delete", "unclean-seal"] {
            assert!(wanted.iter().any(|w| w == known), "{known}: {wanted:?}");
        }
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            super::write(*shell, command.clone(), &mut script);
            let script = String::from_utf8(script).expect("scripts are text");
            for name in &wanted {
                assert!(script.contains(name), "{shell}: {name}");
            }
            assert!(script.contains("to-earliest"), "{shell}");
        }
    }
}
