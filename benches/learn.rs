//! What learning costs: the start of a recording, and the time of commands that make many system calls, next to the same
//! without ringfence and under `strace -f`. A command's own time is taken inside: what is above it comes before and after, and does
//! not grow with it. So is the time that it is given a processor, on which what the machine does beside it tells less.
//!
//! What runs natively is there twice: the second says how much is noise. Run by `cargo bench --bench learn`, as root; `ROUNDS` is how
//! often, `TREE` what is packed, and `OTHER` another build of ringfence to compare with.

#[path = "kit/rows.rs"]
mod rows;

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use rows::What;

/// Says to this program that it is inside, and what to run there.
const TIMED: &str = "--timed";
/// Where it leaves the milliseconds, by the clock and on a processor.
const TOOK: &str = "took";

fn main() {
    let words: Vec<_> = env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == TIMED) {
        let took = timed(Command::new(&words[1]).args(&words[2..]));
        let used = getrusage(UsageWho::RUSAGE_CHILDREN).expect("what children used is counted");
        let used = used.user_time() + used.system_time();
        let text = format!("{took} {}", used.num_microseconds() as f64 / 1e3);
        return fs::write(TOOK, text).expect("a file can be written");
    }
    let number = |name: &str, otherwise: usize| {
        let text = env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let rounds = number("ROUNDS", 9);
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    prepare(place.path());
    println!("{}", rows::place());
    measure("start of /bin/true", &["/bin/true"], rounds, place.path());
    let tree = env::var("TREE").unwrap_or_else(|_| "/usr/share/perl".to_owned());
    measure(
        "tar of a tree",
        &["tar", "cf", "tree.tar", &tree],
        rounds,
        place.path(),
    );
    measure(
        "find in a tree",
        &["find", &tree, "-newer", "/etc/passwd"],
        rounds,
        place.path(),
    );
    measure(
        "git status",
        &["git", "-C", "repository", "status", "--short"],
        rounds,
        place.path(),
    );
    measure(
        "make of C",
        &["make", "-s", "-B", "-C", "sources"],
        rounds,
        place.path(),
    );
}

/// A repository of a thousand files, and twelve sources in C.
fn prepare(place: &Path) {
    let script = "set -e; mkdir sources; i=0; while [ $i -lt 12 ]; do
        echo \"#include <stdio.h>\nint f$i(void) { return puts(\\\"x\\\"); }\" > sources/f$i.c; i=$((i+1)); done
        printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n' > sources/Makefile
        git init -q repository; cd repository; i=0
        while [ $i -lt 1000 ]; do mkdir -p d$((i % 40)); echo $i > d$((i % 40))/f$i; i=$((i+1)); done
        git add . ; git -c user.name=n -c user.email=e@x commit -qm 1";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(place)
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "what is measured can be made"
    );
}

/// The ways to run a command; what is not installed is left out.
fn contestants() -> Vec<(&'static str, Vec<String>)> {
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let own = env!("CARGO_BIN_EXE_ringfence");
    let mut all = vec![
        ("native", Vec::new()),
        ("native again", Vec::new()),
        (
            "ringfence",
            words(&format!("{own} learn -o learned.toml --")),
        ),
        ("strace -f", words("strace -f -o strace.out")),
    ];
    // Another build, to be compared with this one.
    if let Ok(other) = env::var("OTHER") {
        all.push(("other", words(&format!("{other} learn -o learned.toml --"))));
    }
    all.retain(|(_, words)| {
        let name = words.first();
        name.is_none_or(|name| Command::new(name).arg("--version").output().is_ok())
    });
    all
}

fn measure(title: &str, command: &[&str], rounds: usize, place: &Path) {
    let contestants = contestants();
    let own = env::current_exe().expect("the path of this program");
    let own = own.to_str().expect("text");
    let [itself, on_a_processor] =
        [", itself", ", its processor time"].map(|part| format!("{title}{part}"));
    let whats = [title, &itself, &on_a_processor].map(|name| What {
        section: "learn",
        name,
        unit: "ms",
    });
    let names: Vec<&str> = contestants.iter().map(|(name, _)| *name).collect();
    rows::rounds_of(whats, &names, rounds, |number| {
        let prefix = contestants[number].1.iter().map(String::as_str);
        let words: Vec<&str> = prefix
            .chain([own, TIMED])
            .chain(command.iter().copied())
            .collect();
        let took = timed(Command::new(words[0]).args(&words[1..]).current_dir(place));
        let inside = fs::read_to_string(place.join(TOOK)).map_err(|error| error.to_string())?;
        let mut inside = inside
            .split(' ')
            .map(|part| part.parse().expect("a number"));
        let mut next = || inside.next().expect("two numbers");
        Ok([took, next(), next()])
    });
}

/// Milliseconds of a command that succeeds.
fn timed(command: &mut Command) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status();
    let took = began.elapsed().as_secs_f64() * 1e3;
    let is_done = status.is_ok_and(|status| status.success());
    assert!(is_done, "{command:?} succeeds");
    took
}
