//! The house rules about rooms: who may use whom, where a library lives, where `unsafe` may stand.
//!
//! It reads tokens, not syntax trees: what a macro or an attribute names counts as well. Unit tests obey the same rules;
//! a test that needs two rooms lives here in `tests/`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Nouns: each may use the nouns to its left, and nobody else. A profile speaks of modes, limits and protections in the
/// policy's words.
const NOUNS: &[&str] = &["policy", "profile", "event", "trace"];
/// Pure verbs: they know the nouns.
const VERBS: &[&str] = &["compile", "learn", "report"];
/// Edges: they touch the system, and know the nouns, but neither the verbs nor each other.
const EDGES: &[&str] = &[
    "cache",
    "kernel",
    "confine",
    "network",
    "record",
    "oci",
    "registry",
    "telemetry",
];
/// The front of the house, each of which knows everything to its left.
const FRONT: &[&str] = &["command", "cli", "main"];

/// Libraries that belong to rooms.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli", "main"]),
    ("clap_mangen", &["cli", "main"]),
    ("aya", &["kernel"]),
    ("aya_obj", &["kernel"]),
    ("nix", &["cache", "confine", "kernel", "oci", "telemetry"]),
    ("libc", &["confine", "kernel"]),
    ("caps", &["confine", "kernel"]),
    ("libseccomp", &["confine", "kernel"]),
    ("landlock", &["confine", "kernel"]),
    ("hickory_proto", &["network"]),
    ("oci_spec", &["oci"]),
    ("object", &["record"]),
    ("toml_edit", &["learn", "oci"]),
    ("quick_junit", &["report"]),
    ("indicatif", &["command"]),
    ("minijinja", &["report"]),
    ("prometheus", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_http", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("ureq", &["telemetry"]),
    ("docker_credential", &["registry"]),
    ("futures_util", &["registry"]),
    ("oci_client", &["registry"]),
    ("rustls", &["registry"]),
    ("tokio", &["registry"]),
];

/// Rooms that may hold `unsafe`.
const UNSAFE: &[&str] = &["kernel", "confine"];

/// Rooms that `room` may use, besides itself; `None` for a room that nobody has given a place.
fn usable(room: &str) -> Option<Vec<&'static str>> {
    let place = |rooms: &[&str]| rooms.iter().position(|one| *one == room);
    if let Some(place) = place(NOUNS) {
        return Some(NOUNS[..place].to_vec());
    }
    if VERBS.contains(&room) || EDGES.contains(&room) {
        return Some(NOUNS.to_vec());
    }
    place(FRONT).map(|place| [NOUNS, VERBS, EDGES, &FRONT[..place]].concat())
}

/// One source file: what it is called, its room, and how many modules it lies below the crate's root.
struct Source<'a> {
    name: &'a str,
    room: &'a str,
    depth: usize,
}

/// Everything in the text that the house forbids, a line each.
fn violations(source: &Source, text: &str) -> Vec<String> {
    let Some(usable) = usable(source.room) else {
        return vec![format!(
            "{}: the room `{}` has no place in tests/layers.rs",
            source.name, source.room
        )];
    };
    let tokens: TokenStream = match text.parse() {
        Ok(tokens) => tokens,
        Err(error) => return vec![format!("{}: not Rust: {error}", source.name)],
    };
    let mut found = Vec::new();
    look(source, &usable, tokens, source.depth, &mut found);
    found
}

fn look(
    source: &Source,
    usable: &[&str],
    tokens: TokenStream,
    depth: usize,
    found: &mut Vec<String>,
) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let line = token.span().start().line;
        let mut complain = |what: String| found.push(format!("{}:{line}: {what}", source.name));
        match token {
            TokenTree::Group(group) => {
                let inside = depth + usize::from(is_module_body(&tokens, index));
                look(source, usable, group.stream(), inside, found);
            }
            TokenTree::Ident(word) => {
                let word = word.to_string();
                if word == "unsafe" && !UNSAFE.contains(&source.room) {
                    complain(format!("`unsafe` in room `{}`", source.room));
                }
                for room in rooms_named(&tokens, index, &word, depth, source.room) {
                    if room != source.room && is_room(&room) && !usable.contains(&room.as_str()) {
                        complain(format!("room `{}` uses room `{room}`", source.room));
                    }
                }
                let owner = LIBRARIES.iter().find(|(library, _)| *library == word);
                if let Some((library, rooms)) = owner
                    && names_library(&tokens, index)
                    && !rooms.contains(&source.room)
                {
                    complain(format!("library `{library}` in room `{}`", source.room));
                }
            }
            _ => {}
        }
    }
}

fn is_room(name: &str) -> bool {
    [NOUNS, VERBS, EDGES, FRONT].concat().contains(&name)
}

/// `mod name { ... }`: inside, `super` is one further from the root.
fn is_module_body(tokens: &[TokenTree], index: usize) -> bool {
    index >= 2
        && matches!(&tokens[index], TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
        && matches!(&tokens[index - 2], TokenTree::Ident(word) if *word == "mod")
}

/// The rooms behind a path that starts here at the crate's root: `crate::x`, `ringfence::x`, as many `super`s as it takes.
fn rooms_named(
    tokens: &[TokenTree],
    index: usize,
    word: &str,
    depth: usize,
    room: &str,
) -> Vec<String> {
    if after_colons(tokens, index) {
        return Vec::new();
    }
    let mut next = index;
    match word {
        "crate" => {}
        "ringfence" if room == "main" => {}
        "super" | "self" => {
            let mut left = if word == "super" {
                depth.saturating_sub(1)
            } else {
                depth
            };
            while let Some(TokenTree::Ident(again)) = tokens.get(next + 3)
                && colons(tokens, next + 1)
                && *again == "super"
            {
                (left, next) = (left.saturating_sub(1), next + 3);
            }
            if left > 0 {
                return Vec::new();
            }
        }
        _ => return Vec::new(),
    }
    if !colons(tokens, next + 1) {
        return Vec::new();
    }
    match tokens.get(next + 3) {
        Some(TokenTree::Ident(room)) => vec![room.to_string()],
        Some(TokenTree::Group(group)) => first_words(group.stream()),
        _ => Vec::new(),
    }
}

/// Of `{a::b, c}`: a and c.
fn first_words(tokens: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    let mut first = true;
    for token in tokens {
        match &token {
            TokenTree::Ident(word) if first => words.push(word.to_string()),
            _ => {}
        }
        first = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == ',');
    }
    words
}

/// `library::` or `use library`, but not `something::library`.
fn names_library(tokens: &[TokenTree], index: usize) -> bool {
    let imported =
        index > 0 && matches!(&tokens[index - 1], TokenTree::Ident(word) if *word == "use");
    imported || (colons(tokens, index + 1) && !after_colons(tokens, index))
}

fn colons(tokens: &[TokenTree], index: usize) -> bool {
    let colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    colon(index) && colon(index + 1)
}

/// A leading `::` (as in `::nix::x`) is no path to us, so the word before the colons decides.
fn after_colons(tokens: &[TokenTree], index: usize) -> bool {
    index >= 3
        && colons(tokens, index - 2)
        && matches!(&tokens[index - 3], TokenTree::Ident(word) if *word != "use")
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of a folder of sources").path();
        if path.is_dir() {
            files_below(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// `kernel/mod.rs` is one module below the root, `kernel/load.rs` two, `cli.rs` one, `main.rs` none.
fn place(path: &Path) -> (String, usize) {
    let parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let room = parts[0].trim_end_matches(".rs").to_owned();
    let depth = match path.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs") => parts.len() - 1,
        Some("main.rs" | "lib.rs") if parts.len() == 1 => 0,
        _ => parts.len(),
    };
    (room, depth)
}

#[test]
fn rooms_use_only_rooms_to_their_left_and_libraries_stay_in_their_room() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_below(&top, &mut files);
    assert!(files.len() > 5, "no sources found below {}", top.display());
    let mut report = String::new();
    for file in files {
        let short = file.strip_prefix(&top).unwrap();
        let (room, depth) = place(short);
        if room == "lib" {
            continue;
        }
        let name = format!("sandbox/src/{}", short.display());
        let text = fs::read_to_string(&file).unwrap();
        for violation in violations(
            &Source {
                name: &name,
                room: &room,
                depth,
            },
            &text,
        ) {
            writeln!(report, "{violation}").unwrap();
        }
    }
    assert!(
        report.is_empty(),
        "the house rules (CONTRIBUTING.md) are broken:\n{report}"
    );
}

mod checker {
    use super::{Source, place, violations};
    use std::path::Path;

    fn seen(room: &str, depth: usize, text: &str) -> Vec<String> {
        violations(
            &Source {
                name: "fake.rs",
                room,
                depth,
            },
            text,
        )
    }

    #[track_caller]
    fn caught(room: &str, depth: usize, text: &str) {
        assert_eq!(
            seen(room, depth, text).len(),
            1,
            "{text}: {:?}",
            seen(room, depth, text)
        );
    }

    #[track_caller]
    fn passes(room: &str, depth: usize, text: &str) {
        assert!(
            seen(room, depth, text).is_empty(),
            "{text}: {:?}",
            seen(room, depth, text)
        );
    }

    #[test]
    fn catches_a_room_that_uses_one_to_its_right() {
        caught("policy", 1, "use crate::compile::Compiled;");
        caught("policy", 1, "use crate::profile::Rule;");
        caught("profile", 1, "use crate::event::Event;");
        caught("compile", 1, "use crate::{policy::Policy, kernel};");
        caught("kernel", 1, "fn f() { crate::confine::start() }");
        caught(
            "kernel",
            1,
            "fn f() { println!(\"{}\", crate::compile::NAME) }",
        );
        caught("command", 1, "use crate::cli::Line;");
    }

    #[test]
    fn catches_a_way_out_through_super() {
        caught("kernel", 1, "use super::confine;");
        caught("kernel", 2, "use super::super::confine::x;");
        caught("kernel", 1, "mod tests { use super::super::command; }");
    }

    #[test]
    fn lets_a_room_use_itself_and_what_lies_to_its_left() {
        passes(
            "kernel",
            1,
            "use crate::policy::Policy; use crate::kernel::load; use super::policy;",
        );
        passes("profile", 1, "use crate::policy::Mode;");
        passes("kernel", 2, "use super::confine;");
        passes(
            "command",
            1,
            "use crate::{kernel::Fence, confine, compile};",
        );
        passes("main", 0, "use ringfence::{cli, command};");
        passes(
            "event",
            1,
            "//! about crate::kernel\n/// unsafe clap::x\nstruct Command { kernel: u8 }",
        );
    }

    #[test]
    fn catches_a_library_outside_of_its_room() {
        caught("command", 1, "use clap::Parser;");
        caught("command", 1, "#[derive(clap::Args)] struct A;");
        caught("compile", 1, "fn f() { ::nix::unistd::getuid(); }");
        caught("policy", 1, "use aya as loader;");
        passes("kernel", 1, "use aya::Ebpf;");
        passes("confine", 1, "use landlock::Ruleset;");
        passes("command", 1, "use crate::confine::landlock::Stage;");
    }

    #[test]
    fn catches_unsafe_outside_of_the_edges_that_need_it() {
        caught("compile", 1, "fn f() { unsafe { g() } }");
        passes("kernel", 1, "fn f() { unsafe { g() } }");
        passes("policy", 1, "#![forbid(unsafe_code)]");
    }

    #[test]
    fn catches_a_room_without_a_place() {
        caught("helpers", 1, "");
    }

    #[test]
    fn knows_how_deep_a_file_lies() {
        for (path, room, depth) in [
            ("cli.rs", "cli", 1),
            ("main.rs", "main", 0),
            ("kernel/mod.rs", "kernel", 1),
            ("kernel/a/b.rs", "kernel", 3),
        ] {
            assert_eq!(place(Path::new(path)), (room.to_owned(), depth));
        }
    }
}
