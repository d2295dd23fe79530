//! Whole programs, start included.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kit::contestant::Contestant;
use crate::kit::{rounds, rows::What};
use crate::once::names;

/// Each with its words; in them `@` is the directory.
const PROGRAMS: [(&str, &str); 4] = [
    ("tar of 2,000 files", "tar -C @ -cf @/out.tar tree"),
    ("git status", "git -C @/tree status --short"),
    ("C build, -j2", "make -C @ -B -s -j2"),
    ("python start", "/usr/bin/python3 -c pass"),
];

/// Every program by every contestant.
pub(crate) fn all(times: usize, place: &Path) {
    prepare(place);
    let profile = profile(place);
    let contestants = Contestant::all(&["-p".into(), profile.into()], place);
    for (name, line) in PROGRAMS {
        let what = What {
            section: "programs",
            name,
            unit: "ms",
        };
        let line = line.replace('@', &place.display().to_string());
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        rounds(what, &names(&contestants), times, |number| {
            contestants[number].time(&words, place)
        });
    }
}

/// A repository of 2,000 small files, and 16 C files with a makefile.
fn prepare(place: &Path) {
    let tree = place.join("tree");
    for number in 0..2_000 {
        let folder = tree.join(format!("folder-{:02}", number % 50));
        fs::create_dir_all(&folder).expect("a directory");
        let text = format!("file {number}\n").repeat(20);
        fs::write(folder.join(format!("{number}.txt")), text).expect("a file");
    }
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&tree).args(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // Without git there is a row that says so.
        command.status().ok();
    };
    git(&["init"]);
    git(&["add", "."]);
    let mut makefile = "all:".to_owned();
    for number in 0..16 {
        makefile.push_str(&format!(" {number}.o"));
        let text =
            format!("#include <stdio.h>\nint f{number}(void) {{ return puts(\"{number}\"); }}\n");
        fs::write(place.join(format!("{number}.c")), text).expect("a file");
    }
    makefile.push_str("\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n");
    fs::write(place.join("Makefile"), makefile).expect("a file");
}

fn profile(place: &Path) -> PathBuf {
    let here = place.display();
    let text = format!(
        "version = 1\nextends = [\"base\"]\n[files]\nread = [\"{here}/**\", \"${{TMP}}/**\", \"/usr/**\", \"/etc/**\"]\n\
         write = [\"{here}/**\", \"${{TMP}}/**\"]\nexec = [\"/usr/**\"]\n"
    );
    let path = place.join("profile.toml");
    fs::write(&path, text).expect("a profile");
    path
}
