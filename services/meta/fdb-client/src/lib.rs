//! FoundationDB's client library, loaded at run time.
//!
//! The `foundationdb` crate links `libfdb_c`, which is not on every machine and has to match the cluster. This
//! crate gives the linker an archive of trampolines instead, one per `fdb_*` symbol, and [`load`] points them
//! into the real library. So one binary runs with and without FoundationDB, and a missing library is an error
//! with a message, not a failure of the loader.
#![allow(
    unsafe_code,
    reason = "it calls into C: one function, see trampolines.c"
)]

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::OnceLock;

/// Names the library to load: a file, or a folder that holds `libfdb_c.so`.
pub const PATH_VARIABLE: &str = "FDB_CLIENT_LIB_PATH";
/// Loaded when nothing is named; found as the system's loader finds libraries.
pub const DEFAULT_LIBRARY: &str = "libfdb_c.so";

/// The client library could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "load FoundationDB's client library {library}: {why}; install it, or name it in {PATH_VARIABLE}"
)]
pub struct LoadError {
    /// The file asked for.
    pub library: String,
    /// What the system's loader said.
    pub why: String,
}

unsafe extern "C" {
    fn tidemark_fdb_load(path: *const c_char) -> *const c_char;
}

/// Loads the library that `FDB_CLIENT_LIB_PATH` names, or `libfdb_c.so`. Only the first call does anything;
/// later ones give its outcome.
///
/// # Errors
/// When there is no such library, or it is not FoundationDB's.
pub fn load() -> Result<(), LoadError> {
    static LOADED: OnceLock<Result<(), LoadError>> = OnceLock::new();
    LOADED.get_or_init(|| load_from(&library())).clone()
}

fn library() -> String {
    match std::env::var(PATH_VARIABLE) {
        Ok(folder) if Path::new(&folder).is_dir() => format!("{folder}/{DEFAULT_LIBRARY}"),
        Ok(file) if !file.is_empty() => file,
        _ => DEFAULT_LIBRARY.to_owned(),
    }
}

fn load_from(library: &str) -> Result<(), LoadError> {
    let failed = |why: String| LoadError {
        library: library.to_owned(),
        why,
    };
    let path = CString::new(library).map_err(|_| failed("its name holds a zero byte".into()))?;
    // SAFETY: `path` is a C string that lives through the call. The call writes the trampolines' targets, which
    // nothing reads meanwhile: `load` runs it once, and who uses `fdb_*` calls `load` first.
    let why = unsafe { tidemark_fdb_load(path.as_ptr()) };
    if why.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so a C string of the loader's that stays valid until this thread's next dl* call.
    let why = unsafe { CStr::from_ptr(why) };
    Err(failed(why.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_a_clear_error() {
        let error = load_from("/nowhere/libfdb_c.so").unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("load FoundationDB's client library /nowhere/libfdb_c.so: "));
        assert!(said.ends_with("install it, or name it in FDB_CLIENT_LIB_PATH"));
    }

    #[test]
    fn another_library_is_refused() {
        let error = load_from("libc.so.6").unwrap_err();
        assert_eq!(error.why, "it is not a FoundationDB client library");
    }
}
