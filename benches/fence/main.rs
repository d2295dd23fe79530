//! What a fence costs: the start of a command, single operations inside, whole programs, many rules and many fences, next to
//! the same without a fence and to what else people put before a command.
//!
//! Run by `cargo bench --bench fence [-- SECTION...]`, in a machine by `cargo xtask vm --kernel 6.12 --
//! target/release/deps/fence-... SECTION...`. `ROUNDS` is how often, `BEFORE` another build of ringfence to compare with,
//! `RESULTS` a file for rows of JSON.

#[path = "../kit/mod.rs"]
mod kit;
mod once;
mod operations;
mod programs;
mod scale;
mod startup;

use std::env;
use std::ffi::OsString;

use kit::contestant::{LANDLOCK, landlock};
use kit::sections::{self, Section};

const SECTIONS: [(&str, Section); 5] = [
    ("start", startup::all),
    ("operations", operations::all),
    ("programs", programs::all),
    ("rules", scale::rules),
    ("fences", scale::fences),
];

fn main() {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some(operations::PROBE) => return operations::probe(&arguments[1..]),
        Some(LANDLOCK) => {
            eprintln!("{}", landlock(&arguments[1..]));
            std::process::exit(1);
        }
        _ => {}
    }
    // Where none of the contestants puts something of its own.
    let place = tempfile::tempdir_in("/opt").expect("a temporary directory");
    sections::run(&SECTIONS, &arguments, place.path());
}
