//! What is fed with bytes that somebody else may have written, and what must hold whatever they are. cargo-fuzz looks for
//! bytes that break it (`fuzz_targets/`); `tests/corpus.rs` tries what it has kept, and bytes that are near.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use ringfence::{
    compile::{self, Entry},
    kernel, network, oci,
    profile::{CommandLine, Effective, Right, Rule, Variables, from_text},
    trace::Trace,
};
use ringfence_abi::{
    greeting::{self, Extension, found},
    rights,
};

/// A profile is refused, or survives being written and read.
pub(crate) fn profile(bytes: &[u8]) {
    let Ok(read) = from_text(
        "fuzz",
        bytes,
        bytes.first() == Some(&b'{'),
        CommandLine::default(),
    ) else {
        return;
    };
    let written = toml::to_string(&read.to_document()).expect("a profile can be written");
    let again = from_text("fuzz", written.as_bytes(), false, CommandLine::default())
        .unwrap_or_else(|error| panic!("what was written is refused: {error}\n{written}"));
    let rewritten = toml::to_string(&again.to_document()).expect("a profile can be written");
    assert_eq!(written, rewritten);
    // Rules of a stranger must not take the compiler down either; most name variables that are not set.
    compiled(&read);
}

fn compiled(effective: &Effective) -> Option<(ringfence::policy::Policy, compile::Explainer)> {
    compile::compile(effective, &Variables::new(), &|_: &[u8]| Entry::Missing).ok()
}

/// The automaton gives a path the rights that the plain matchers give it. Lines are a letter and a rule; the last is the path.
pub(crate) fn automaton(bytes: &[u8]) {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    let Some(path) = lines.pop().filter(|path| path.starts_with(b"/")) else {
        return;
    };
    let rules: Vec<Rule> = lines
        .iter()
        .take(12)
        .filter_map(|line| rule(line))
        .collect();
    let command_line = CommandLine {
        rules,
        ..CommandLine::default()
    };
    let base = b"version = 1\n[files]\nmode = \"enforce\"\n";
    let effective = from_text("fuzz", base, false, command_line).expect("an empty profile");
    let Some((policy, explainer)) = compiled(&effective) else {
        return;
    };
    let granted = policy.files.automaton.rights(path);
    assert_eq!(granted & !rights::ALL, 0);
    assert_eq!(granted, explainer.rights(path), "{}", path.escape_ascii());
}

fn rule(line: &[u8]) -> Option<Rule> {
    let (letter, text) = line.split_first()?;
    let right = match letter % 4 {
        0 => Right::Read,
        1 => Right::Write,
        2 => Right::Exec,
        _ => Right::Deny,
    };
    // Long repetitions are refused by their size, which takes its time.
    let text = &text[..text.len().min(64)];
    Rule::from_command_line(right, OsStr::from_bytes(text), Path::new("/")).ok()
}

/// A trace is refused, or survives being written and read.
pub(crate) fn trace(bytes: &[u8]) {
    let Ok(read) = Trace::read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    read.write(&mut written).expect("a trace can be written");
    assert_eq!(Trace::read(written.as_slice()).expect("it is one"), read);
}

/// A record of the kernel half is refused, or has the path that it says.
pub(crate) fn event(bytes: &[u8]) {
    if let Some(event) = kernel::decode(bytes) {
        assert!(event.path.len() + event.other.map_or(0, |other| other.len()) <= bytes.len());
    }
}

/// What is asked of the resolver is answered with its own number, as an answer, and over UDP in one packet; an answer is
/// answered by nobody.
pub(crate) fn query(bytes: &[u8]) {
    for over_tcp in [false, true] {
        let Some(answer) = network::refusal(bytes, over_tcp) else {
            continue;
        };
        assert!(bytes[2] & 0x80 == 0, "an answer was answered");
        assert_eq!(answer[..2], bytes[..2]);
        assert_eq!(answer[2] & 0x80, 0x80);
        assert!(over_tcp || answer.len() <= 1_232, "{} bytes", answer.len());
    }
}

/// What a name server answers to somebody else is heard or not: it is about one name at most, and that is one that a host can have.
pub(crate) fn answer(bytes: &[u8]) {
    let mut overheard = network::Overheard::new("/nowhere/hosts".into());
    overheard.hear(bytes);
    assert!(overheard.asked().len() <= 1);
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let mut asked = overheard.asked().iter();
    assert!(asked.all(|name| !name.is_empty() && name.bytes().all(is_of_a_name)));
}

/// No server is told another name by what a connection begins with than the fence has read: where rustls reads a greeting, the
/// fence reads the same, or cannot read it.
pub(crate) fn greeting(bytes: &[u8]) {
    let read = Greeting::of(bytes);
    let mut acceptor = rustls::server::Acceptor::default();
    let told = acceptor.read_tls(&mut &bytes[..]);
    let Ok(Some(accepted)) = told.map(|_| acceptor.accept().ok().flatten()) else {
        return;
    };
    let name = accepted.client_hello().server_name().map(str::to_lowercase);
    match read {
        Greeting::Name(read) => {
            let read = String::from_utf8_lossy(&read).to_lowercase();
            // A server that does not take what is said for a name goes by none; a dot at the end is none of the name's, and no rule
            // has one.
            let same = |name| read.strip_suffix('.').unwrap_or(&read) == name;
            assert!(name.as_deref().is_none_or(same), "{read:?}");
        }
        Greeting::Nameless => assert_eq!(name, None),
        Greeting::Unreadable => {}
        Greeting::NotTls | Greeting::Part => panic!("a server answers: {name:?}"),
    }
}

/// What the fence makes of the first packet of a connection.
#[derive(Debug)]
enum Greeting {
    Name(Vec<u8>),
    Nameless,
    NotTls,
    Unreadable,
    Part,
}

impl Greeting {
    fn of(bytes: &[u8]) -> Self {
        let packet = Carried(bytes);
        let end = u32::try_from(bytes.len()).expect("a packet");
        let found = greeting::head(&packet, 0, end).and_then(|mut extensions| {
            for _ in 0..greeting::EXTENSIONS {
                match greeting::extension(&packet, extensions, end)? {
                    Extension::Other { next } => extensions.at = next,
                    Extension::Name { at, length } => {
                        return Ok(at as usize..(at + length) as usize);
                    }
                }
            }
            Err(found::UNREADABLE)
        });
        match found {
            Ok(name) => Self::Name(bytes[name].to_vec()),
            Err(found::NAMELESS) => Self::Nameless,
            Err(found::NOT_TLS) => Self::NotTls,
            Err(found::UNREADABLE) => Self::Unreadable,
            Err(found::PART) => Self::Part,
            Err(other) => panic!("{other}"),
        }
    }
}

struct Carried<'a>(&'a [u8]);

impl greeting::Packet for Carried<'_> {
    fn load<const BYTES: usize>(&self, at: u32) -> Option<[u8; BYTES]> {
        let bytes = self.0.get(at as usize..)?.first_chunk()?;
        Some(*bytes)
    }
}

/// A runtime's command line is refused, or means the same whoever reads it again.
pub(crate) fn call(bytes: &[u8]) {
    let words: Vec<OsString> = bytes
        .split(|&byte| byte == 0)
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect();
    let Ok(call) = oci::Call::parse(&words, Path::new("/b")) else {
        return;
    };
    if let oci::Act::Start { bundle, .. } = &call.act {
        assert!(bundle.is_absolute());
    }
    assert_eq!(oci::Call::parse(&words, Path::new("/b")).ok(), Some(call));
}

/// A container's state is refused, or names a container, and a process unless it is gone.
pub(crate) fn state(bytes: &[u8]) {
    if let Ok(container) = oci::Container::from_state(bytes) {
        assert!(!container.id.is_empty());
        assert!(container.is_gone || container.pid > 0);
    }
}
