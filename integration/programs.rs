//! Real programs under the profiles that are shipped for them: they work without a single denial, and what the profile
//! leaves out is denied.

use std::fs;
use std::process::Command;

use libtest_mimic::Failed;

use crate::kit::{Fence, Finished, Folder, Need, PYTHON, Suite, Verdict};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "programs::python_works_in_its_profile",
        &[Need::Root],
        python_works_in_its_profile,
    );
    suite.test(
        "programs::git_works_in_its_profile",
        &[Need::Root, Need::Program("git")],
        git_works_in_its_profile,
    );
    suite.test(
        "programs::a_project_in_c_is_built_in_its_profile",
        &[Need::Root, Need::Program("gcc"), Need::Program("make")],
        a_project_in_c_is_built_in_its_profile,
    );
    suite.test(
        "programs::a_shell_and_its_tools_work_in_its_profile",
        &[Need::Root, Need::Program("tar"), Need::Program("find")],
        a_shell_and_its_tools_work_in_its_profile,
    );
    suite.test(
        "programs::the_tools_of_scripts_work_in_a_folder_that_is_opened_to_them",
        &[Need::Root, Need::Program("tar"), Need::Program("find")],
        the_tools_of_scripts_work_in_a_folder_that_is_opened_to_them,
    );
}

/// A fence with this profile around a folder, a home elsewhere, and a command.
struct Trial {
    fence: Fence,
    elsewhere: Folder,
}

impl Trial {
    fn under(profile: &str) -> Result<Self, Failed> {
        let elsewhere = Folder::new()?;
        elsewhere.file("file", "content")?;
        let events = elsewhere.at("events").into_os_string();
        let fence = Fence::untrusted()?
            .and(["-p", profile, "--events"])
            .and([events]);
        Ok(Self { fence, elsewhere })
    }

    fn run(&self, command: &[&str]) -> Result<Finished, Failed> {
        self.fence
            .run(command.iter().copied())
            .variable("HOME", self.elsewhere.at("home"))
            .variable("ELSEWHERE", self.elsewhere.path())
            .run()
    }

    /// It succeeds, and where the engine reports exactly what the profile says, without any denial.
    fn works(&self, command: &[&str]) -> Result<Finished, Failed> {
        let finished = self.run(command)?;
        finished.succeeds()?;
        if Need::BpfLsm.unmet().is_none() {
            let events = fs::read_to_string(self.elsewhere.at("events"))?;
            finished.claim(events.is_empty(), &format!("no denial, not\n{events}"))?;
        }
        Ok(finished)
    }

    /// Nothing is written outside of the folder.
    fn stays_inside(&self, command: &[&str]) -> Verdict {
        let finished = self.run(command)?;
        finished.fails()?;
        let escaped = self.elsewhere.at("escaped").exists();
        finished.claim(!escaped, "nothing written elsewhere")?;
        let file = fs::read_to_string(self.elsewhere.at("file"))?;
        finished.claim(file == "content", "the file elsewhere as it was")?;
        Ok(())
    }
}

const PROGRAM: &str = r#"
import json, pathlib, random, sqlite3, subprocess, sys, tempfile, threading, unicodedata, zlib
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "data.json")
    path.write_text(json.dumps({"value": 42}))
    database = sqlite3.connect(pathlib.Path(folder, "database"))
    database.execute("create table t (x)")
    database.commit()
    thread = threading.Thread(target=lambda: zlib.compress(path.read_bytes()))
    thread.start()
    thread.join()
    own = subprocess.run([sys.executable, "-I", "-c", "print('child')"], check=True, capture_output=True)
    print(json.loads(path.read_text())["value"], own.stdout.decode().strip(), sorted(p.name for p in pathlib.Path(".").iterdir()))
"#;

fn python_works_in_its_profile() -> Verdict {
    let trial = Trial::under("python")?;
    trial.fence.folder().file("program.py", PROGRAM)?;
    trial
        .works(&[PYTHON, "-I", "program.py"])?
        .says("42 child")?
        .says("program.py")?;
    trial.stays_inside(&[
        PYTHON,
        "-I",
        "-c",
        "import os; open(os.environ['ELSEWHERE'] + '/escaped', 'w')",
    ])?;
    trial.stays_inside(&[PYTHON, "-I", "-c", "open('program.py', 'w')"])
}

fn git_works_in_its_profile() -> Verdict {
    let trial = Trial::under("git")?;
    let git = |words: &[&str]| -> Verdict {
        let output = Command::new("git")
            .args(["-C"])
            .arg(trial.fence.at("origin"))
            .args(["-c", "user.name=A", "-c", "user.email=a@b.invalid"])
            .args(words)
            .output()?;
        let done = output.status.success();
        done.then_some(())
            .ok_or_else(|| format!("{words:?}: {output:?}").into())
    };
    trial.fence.folder().file("origin/file", "content")?;
    git(&["init", "-q"])?;
    git(&["add", "."])?;
    git(&["commit", "-q", "-m", "first"])?;
    trial.works(&["git", "clone", "-q", "./origin", "copy"])?;
    trial
        .works(&["git", "-C", "copy", "log", "--oneline"])?
        .says("first")?;
    trial.works(&["git", "-C", "copy", "checkout", "-q", "-b", "other"])?;
    trial.works(&["git", "-C", "copy", "status", "--short"])?;
    trial.stays_inside(&["sh", "-c", "git clone -q ./origin $ELSEWHERE/escaped"])
}

const MAKEFILE: &str = "greet: main.o greet.o\n\t$(CC) -o $@ $^\n%.o: %.c greet.h\n\t$(CC) -O1 -g -c -o $@ $<\n\
    check: greet\n\t./greet | grep -q hello\nclean:\n\trm -f *.o greet\n";

fn a_project_in_c_is_built_in_its_profile() -> Verdict {
    let trial = Trial::under("c-build")?;
    for (name, text) in [
        ("Makefile", MAKEFILE),
        ("greet.h", "void greet(const char *name);\n"),
        (
            "greet.c",
            "#include <stdio.h>\n#include \"greet.h\"\nvoid greet(const char *name) { printf(\"hello %s\\n\", name); }\n",
        ),
        (
            "main.c",
            "#include \"greet.h\"\nint main(void) { greet(\"world\"); return 0; }\n",
        ),
    ] {
        trial.fence.folder().file(name, text)?;
    }
    trial.works(&["make", "check"])?;
    trial.works(&["./greet"])?.says("hello world")?;
    trial.works(&["make", "clean"])?;
    trial.stays_inside(&["sh", "-c", "gcc -c -o $ELSEWHERE/escaped main.c"])
}

fn a_shell_and_its_tools_work_in_its_profile() -> Verdict {
    tools_work(&Trial::under("shell")?)
}

fn the_tools_of_scripts_work_in_a_folder_that_is_opened_to_them() -> Verdict {
    let mut trial = Trial::under("coreutils")?;
    trial.fence = trial.fence.and(["--read", ".", "--write", "."]);
    tools_work(&trial)
}

fn tools_work(trial: &Trial) -> Verdict {
    trial.fence.folder().file("source/a/one", "one\n")?;
    trial.fence.folder().file("source/two", "two\n")?;
    let script = "set -e; tar -czf all.tar.gz source; mkdir out; tar -xzf all.tar.gz -C out; \
        diff -r source out/source; find out -type f | sort | xargs grep -c . ; \
        sed -i s/one/eins/ out/source/a/one; cat out/source/a/one; rm -r out; ls";
    trial
        .works(&["bash", "-c", script])?
        .says("eins")?
        .says("all.tar.gz")?;
    trial.stays_inside(&["bash", "-c", "echo x > $ELSEWHERE/escaped"])?;
    trial.stays_inside(&["bash", "-c", "tar -cf $ELSEWHERE/escaped source"])?;
    trial.stays_inside(&["bash", "-c", "rm -f $ELSEWHERE/file"])
}
