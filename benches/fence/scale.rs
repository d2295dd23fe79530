//! One to 10,000 rules, and one to many fences at a time.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::kit::contestant::Contestant;
use crate::kit::number;
use crate::kit::{
    rounds,
    rows::{What, tell},
};
use crate::once::names;

/// Start and open under profiles of growing size. The rules name files that are not there.
pub(crate) fn rules(times: usize, place: &Path) {
    let own = std::env::current_exe().expect("the path of this program");
    let file = place.join("d/d/f");
    fs::create_dir_all(place.join("d/d")).expect("directories");
    fs::write(&file, b"x").expect("a file");
    for count in [1, 10, 100, 1_000, 10_000] {
        let mut text = "version = 1\nextends = [\"base\"]\n[files]\nread = [\n".to_owned();
        writeln!(
            text,
            "\"{}/d/**\", \"{}\", \"/usr/bin/true\",",
            place.display(),
            own.display()
        )
        .expect("text");
        for number in 0..count {
            let name = (number as u32).wrapping_mul(0x9e37_79b1);
            writeln!(text, "\"/opt/{name:08x}/{number}.json\",").expect("text");
        }
        write!(
            text,
            "]\nexec = [\"{}\", \"/usr/bin/true\"]\n",
            own.display()
        )
        .expect("text");
        let profile = place.join(format!("{count}.toml"));
        fs::write(&profile, text).expect("a profile");
        let arguments = ["-p".into(), OsString::from(profile)];
        // The others have no such rules.
        let mut contestants = Contestant::all(&arguments, place);
        contestants.retain(|one| ["native", "before", "ringfence"].contains(&one.name));
        let name = format!("start, {count} rules");
        let start = What {
            section: "rules",
            name: &name,
            unit: "ms",
        };
        rounds(start, &names(&contestants), times, |number| {
            contestants[number].time(&["/usr/bin/true".into()], place)
        });
    }
}

/// The start of one more fence beside others, and what each of those takes.
pub(crate) fn fences(times: usize, place: &Path) {
    let contestants = Contestant::all(&[], place);
    let ringfence = contestants.iter().find(|one| one.name == "ringfence");
    let ringfence = ringfence.expect("ringfence is there");
    let mut standing = Vec::new();
    for count in [1, 10, 100, 1_000] {
        if count > number("FENCES", 100) {
            break;
        }
        while standing.len() < count {
            standing.push(stand(ringfence));
        }
        let name = format!("start, beside {count}");
        let what = What {
            section: "fences",
            name: &name,
            unit: "ms",
        };
        rounds(what, &["native", "ringfence"], times, |number| {
            let one = if number == 0 {
                &contestants[0]
            } else {
                ringfence
            };
            one.time(&["/bin/true".into()], place)
        });
        let supervisor: f64 = standing.iter().map(|one| proportional(one.id())).sum();
        let name = format!("supervisor's memory, of {count}");
        let what = What {
            section: "fences",
            name: &name,
            unit: "KiB",
        };
        tell(
            what,
            "ringfence",
            &Ok((supervisor / count as f64, f64::NAN)),
        );
    }
    for mut child in standing {
        drop(child.stdin.take());
        child.wait().expect("the fence ends");
    }
}

/// A fence with a command that waits for the end of its input.
fn stand(ringfence: &Contestant) -> Child {
    let script = ["/bin/sh", "-c", "echo; read end"].map(OsString::from);
    let mut child = ringfence
        .command(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ringfence starts");
    let mut ready = String::new();
    let output = child.stdout.as_mut().expect("standard output");
    BufReader::new(output)
        .read_line(&mut ready)
        .expect("a word from inside");
    child
}

/// KiB of a process, shared pages divided among those who share them.
fn proportional(process: u32) -> f64 {
    field(&format!("/proc/{process}/smaps_rollup"), "Pss:")
}

fn field(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(f64::NAN)
}
