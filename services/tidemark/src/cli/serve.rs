//! Placeholder.
use super::CliError;
pub(super) fn run(_m: Option<&clap::ArgMatches>) -> Result<(), CliError> {
    Ok(())
}
