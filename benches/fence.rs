//! What a fence costs: the start of a command, and each open and close inside, next to the same without a fence and to
//! what else people put before a command.
//!
//! Rounds are paired: in each one every contestant runs once, in turn, and ratios are taken round by round, so that what
//! the machine does beside it falls on all alike. Run by `cargo bench --bench fence`; in a machine by
//! `cargo xtask vm --kernel 6.12 -- target/release/deps/fence-...`.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const PROBE: &str = "--probe-open";
const OPENS: u32 = 20_000;
const DEPTHS: [usize; 4] = [1, 4, 8, 16];

fn main() {
    let arguments: Vec<_> = env::args().collect();
    if let Some(at) = arguments.iter().position(|word| word == PROBE) {
        return probe(Path::new(&arguments[at + 1]));
    }
    let rounds = env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(15);
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    println!(
        "kernel {}",
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
    );
    start_up(rounds);
    for depth in DEPTHS {
        opening(rounds, depth, place.path());
    }
}

/// One way to put something before a command.
struct Contestant {
    name: &'static str,
    prefix: Vec<String>,
}

fn contestants(extra: &[String]) -> Vec<Contestant> {
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut ringfence = vec![env!("CARGO_BIN_EXE_ringfence").to_owned(), "run".to_owned()];
    ringfence.extend_from_slice(extra);
    ringfence.push("--".to_owned());
    let mut all = vec![
        Contestant {
            name: "native",
            prefix: Vec::new(),
        },
        Contestant {
            name: "ringfence",
            prefix: ringfence,
        },
        Contestant {
            name: "bubblewrap",
            prefix: words("bwrap --bind / / --dev-bind /dev /dev --unshare-net"),
        },
        Contestant {
            name: "strace",
            prefix: words("strace -f -o /dev/null"),
        },
    ];
    all.retain(|one| {
        one.prefix
            .first()
            .is_none_or(|program| is_installed(program))
    });
    all
}

fn is_installed(program: &str) -> bool {
    program.contains('/')
        || env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .any(|place| place.join(program).exists())
}

fn command(contestant: &Contestant, words: &[String]) -> Command {
    let all: Vec<_> = contestant.prefix.iter().chain(words).collect();
    let mut command = Command::new(all[0]);
    command
        .args(&all[1..])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// From the start of the prefix to the end of /bin/true.
fn start_up(rounds: usize) {
    let contestants = contestants(&[]);
    let words = ["/bin/true".to_owned()];
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            let began = Instant::now();
            let status = command(contestant, &words).stdout(Stdio::null()).status();
            let took = began.elapsed().as_secs_f64() * 1e3;
            assert!(
                status.is_ok_and(|status| status.success()),
                "{} failed",
                contestant.name
            );
            match round {
                // The first start may load programs.
                0 => println!(
                    "first start          {:<12} {took:>9.2} ms",
                    contestant.name
                ),
                _ => times.push(took),
            }
        }
    }
    table("start of /bin/true", "ms", &contestants, &times);
}

/// Nanoseconds of an open and close of a file at this depth, measured by the probe from inside.
fn opening(rounds: usize, depth: usize, place: &Path) {
    let (directory, file) = file_at(depth, place);
    let profile = place.join(format!("p{depth}.toml"));
    let own = env::current_exe()
        .expect("the path of this program")
        .display()
        .to_string();
    let text = format!(
        "version = 1\nextends = [\"base\"]\n[files]\nread = [\"{}/**\", \"{own}\"]\nexec = [\"{own}\"]\n",
        directory.display()
    );
    fs::write(&profile, text).expect("a profile");
    let contestants = contestants(&["-p".to_owned(), profile.display().to_string()]);
    let words = [own, PROBE.to_owned(), file.display().to_string()];
    let mut times = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            let output = command(contestant, &words)
                .output()
                .expect("the probe runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            times.push(
                text.trim()
                    .parse()
                    .unwrap_or_else(|_| panic!("{}: {text}", contestant.name)),
            );
        }
    }
    table(
        &format!("open+close, depth {depth}"),
        "ns",
        &contestants,
        &times,
    );
}

/// A file whose path has `depth` components below the root, if the temporary directory leaves room for that many.
fn file_at(depth: usize, place: &Path) -> (PathBuf, PathBuf) {
    let mut directory = place.to_owned();
    let mut file = if depth == 1 {
        PathBuf::from("/bench-depth-1")
    } else {
        place.join("f")
    };
    if depth == 1 {
        directory = PathBuf::from("/bench-depth-1");
    }
    while file.components().count() - 1 < depth {
        let name = file.file_name().expect("a name").to_owned();
        file = file.with_file_name("d").join(name);
    }
    fs::create_dir_all(file.parent().expect("a directory")).expect("directories");
    fs::write(&file, b"x").expect("a file");
    (directory, file)
}

fn table(title: &str, unit: &str, contestants: &[Contestant], times: &[Vec<f64>]) {
    for (contestant, times_here) in contestants.iter().zip(times) {
        let ratios = times_here
            .iter()
            .zip(&times[0])
            .map(|(one, native)| one / native)
            .collect();
        println!(
            "{title:<20} {:<12} {:>9.2} {unit}   {:>7.2} x native",
            contestant.name,
            median(times_here.clone()),
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Opens and closes the file, and prints the nanoseconds of one round.
fn probe(file: &Path) {
    for _ in 0..OPENS / 10 {
        drop(File::open(file).expect("the file opens"));
    }
    let began = Instant::now();
    for _ in 0..OPENS {
        drop(File::open(file).expect("the file opens"));
    }
    println!("{}", began.elapsed().as_nanos() / u128::from(OPENS));
}
