//! The bytes that fuzzing has kept, and bytes that are near them: cut, with one changed, twice behind each other. The search for
//! new ones is cargo-fuzz's, in `fuzz/`.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../fuzz/subjects.rs"]
mod subjects;

use std::{fs, path::Path};

/// Bytes that are tried in each place.
const TRIED: [u8; 5] = [0, b'"', b'*', 0x7f, 0xff];
/// Variants of one kept input.
const MOST: usize = 400;

fn survives(subject: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(subject);
    let mut tried = 0;
    for entry in
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        check(&bytes);
        for variant in variants(&bytes) {
            check(&variant);
        }
        tried += 1;
    }
    assert!(tried > 0, "{} holds nothing", folder.display());
}

/// As many as [`MOST`], spread over the input.
fn variants(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let step = (bytes.len() * (TRIED.len() + 1)).div_ceil(MOST).max(1);
    let places = (0..bytes.len()).step_by(step);
    places.flat_map(|place| {
        let changed = TRIED.map(|byte| {
            let mut variant = bytes.to_vec();
            variant[place] = byte;
            variant
        });
        let cut = bytes[..place].to_vec();
        let twice = [&bytes[..place], bytes].concat();
        changed.into_iter().chain([cut, twice])
    })
}

macro_rules! subjects {
    ($($subject:ident),*) => {$(
        #[test]
        fn $subject() {
            survives(stringify!($subject), subjects::$subject);
        }
    )*};
}

subjects!(
    profile, automaton, trace, event, query, answer, greeting, call, state
);
