//! Tests that need root, on this host and in a machine per kernel.
//!
//! `cargo xtask test` runs this on every floor; by hand: `cargo test -p ringfence --test integration`, or in a machine
//! `cargo xtask vm --kernel 6.12 -- target/debug/deps/integration-...`. The floor is `RINGFENCE_FLOOR` (host when it
//! is not set). A test says what it needs; where that is not there, it is skipped by name and with the reason, and
//! `RINGFENCE_EXPECT` (a file like `expected-skips.txt`) makes every skip that it does not list a failure.
//!
//! A subject is a file here with a `register` function. The one that is a folder, `escape`, also makes an attacker of this
//! binary: it is what runs inside of its fences.

mod calls;
mod clients;
mod escape;
mod exec;
mod export;
mod faults;
mod files;
mod kit;
mod launch;
mod learn;
mod load;
mod mounts;
mod names;
mod network;
mod oci;
mod outside;
mod processes;
mod programs;
mod refusal;
mod register;
mod registry;
mod reload;
mod resolver;
mod rights;
mod sections;
mod stress;
mod surfaces;
mod temporary;
mod terminal;
mod unix;
mod untrusted;
mod version;

use std::process::ExitCode;

use kit::Suite;

fn main() -> ExitCode {
    if let Some(code) = escape::play() {
        return code;
    }
    let mut suite = Suite::default();
    version::register(&mut suite);
    files::register(&mut suite);
    mounts::register(&mut suite);
    names::register(&mut suite);
    network::register(&mut suite);
    resolver::register(&mut suite);
    calls::register(&mut suite);
    clients::register(&mut suite);
    exec::register(&mut suite);
    export::register(&mut suite);
    faults::register(&mut suite);
    unix::register(&mut suite);
    untrusted::register(&mut suite);
    outside::register(&mut suite);
    launch::register(&mut suite);
    learn::register(&mut suite);
    load::register(&mut suite);
    refusal::register(&mut suite);
    register::register(&mut suite);
    registry::register(&mut suite);
    reload::register(&mut suite);
    rights::register(&mut suite);
    sections::register(&mut suite);
    stress::register(&mut suite);
    surfaces::register(&mut suite);
    temporary::register(&mut suite);
    terminal::register(&mut suite);
    processes::register(&mut suite);
    programs::register(&mut suite);
    oci::register(&mut suite);
    escape::register(&mut suite);
    let code = kit::run(suite);
    escape::report();
    code
}
