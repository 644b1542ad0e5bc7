//! Compiles the trampolines into `libfdb_c.a`, where the linker looks for FoundationDB's client library.

fn main() {
    println!("cargo::rerun-if-changed=src/trampolines.c");
    println!("cargo::rerun-if-changed=src/symbols.h");
    // Also tells every crate linked with this one where the archive is.
    cc::Build::new()
        .file("src/trampolines.c")
        .warnings_into_errors(true)
        .compile("fdb_c");
}
