//! What learning costs: the start of a recording, and the time of commands that make many system calls, next to the same
//! without ringfence and under `strace -f`. A command's own time is taken inside: what is above it comes before and after, and does
//! not grow with it.
//!
//! Rounds are paired: in each one every contestant runs once, in turn, and ratios are taken round by round, so that what
//! the machine does beside it falls on all alike. Run by `cargo bench --bench learn`, as root.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// Says to this program that it is inside, and what to run there.
const TIMED: &str = "--timed";
/// Where it leaves the milliseconds.
const TOOK: &str = "took";

fn main() {
    let words: Vec<_> = env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == TIMED) {
        let took = timed(Command::new(&words[1]).args(&words[2..]));
        return fs::write(TOOK, took.to_string()).expect("a file can be written");
    }
    let number = |name: &str, otherwise: usize| {
        let text = env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let rounds = number("ROUNDS", 9);
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    prepare(place.path());
    println!(
        "kernel {}",
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
    );
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
    let mut times = vec![Vec::new(); contestants.len()];
    let mut inside = times.clone();
    // The first round fills caches and loads programs.
    for round in 0..=rounds {
        for (number, (_, prefix)) in contestants.iter().enumerate() {
            let prefix = prefix.iter().map(String::as_str);
            let words: Vec<&str> = prefix
                .chain([own, TIMED])
                .chain(command.iter().copied())
                .collect();
            let mut all = Command::new(words[0]);
            let took = timed(all.args(&words[1..]).current_dir(place));
            let took_inside = fs::read_to_string(place.join(TOOK)).expect("it was timed");
            if round > 0 {
                times[number].push(took);
                inside[number].push(took_inside.parse().expect("a number"));
            }
        }
    }
    tell(title, &contestants, &times);
    tell(&format!("{title}, itself"), &contestants, &inside);
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

fn tell(title: &str, contestants: &[(&str, Vec<String>)], times: &[Vec<f64>]) {
    for ((name, _), times_here) in contestants.iter().zip(times) {
        let ratios = times_here
            .iter()
            .zip(&times[0])
            .map(|(one, native)| one / native);
        println!(
            "{title:<28} {name:<12} {:>9.2} ms   {:>7.2} x native",
            median(times_here.clone()),
            median(ratios.collect())
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
