//! There and back: a profile that was learned from a run allows that run, without a denial.

use std::fs;

use libtest_mimic::Failed;

use super::{RECORDING, Workshop};
use crate::kit::{Need, PYTHON, Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::a_shell_and_its_tools_go_there_and_back",
        RECORDING,
        a_shell_and_its_tools_go_there_and_back,
    );
    suite.test(
        "learn::git_goes_there_and_back",
        &[Need::Root, Need::Cgroup, Need::Program("git")],
        git_goes_there_and_back,
    );
    suite.test(
        "learn::make_goes_there_and_back",
        &[
            Need::Root,
            Need::Cgroup,
            Need::Program("make"),
            Need::Program("gcc"),
        ],
        make_goes_there_and_back,
    );
    suite.test(
        "learn::python_goes_there_and_back",
        RECORDING,
        python_goes_there_and_back,
    );
    suite.test(
        "learn::tight_allows_what_was_seen_and_not_its_neighbour",
        RECORDING,
        tight_allows_what_was_seen_and_not_its_neighbour,
    );
    suite.test(
        "learn::a_terminal_that_nobody_has_is_no_news",
        &[Need::Root, Need::Cgroup, Need::Program("setsid")],
        a_terminal_that_nobody_has_is_no_news,
    );
    suite.test(
        "learn::two_runs_of_a_build_learn_the_same",
        &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("make"),
            Need::Program("gcc"),
        ],
        two_runs_of_a_build_learn_the_same,
    );
    suite.test(
        "learn::a_secret_is_asked_about_and_not_allowed",
        RECORDING,
        a_secret_is_asked_about_and_not_allowed,
    );
}

fn a_shell_and_its_tools_go_there_and_back() -> Verdict {
    let shop = Workshop::new()?;
    let script = "set -e; echo hi > out; cp out copy; mv copy moved; ln -s out link; cat link moved; \
                  mkdir -p d/e; touch d/e/f; find d | sort; chmod 600 out; rm -r d link moved out; \
                  t=$(mktemp); echo x > $t; wc -c < $t";
    shop.learn(&[], &["sh", "-c", script])?;
    shop.works(&["sh", "-c", script])?;
    let (finished, _) = shop.enforce(&["sh", "-c", "ls -l /"])?;
    finished.fails()?;
    let outside = shop.aside.at("escaped");
    let write = format!(": > {}", outside.display());
    shop.enforce(&["sh", "-c", &write])?.0.fails()?;
    finished.claim(!outside.exists(), "nothing outside")?;
    Ok(())
}

fn git_goes_there_and_back() -> Verdict {
    let shop = Workshop::new()?;
    // Without a name git asks the name service, whose daemon's socket is out of the fallback's reach, here or not.
    shop.aside
        .file("home/.gitconfig", "[user]\n\tname = n\n\temail = e@x\n")?;
    let prepare = "set -e; git init -q seed; cd seed; for i in 1 2 3 4 5; do echo $i > f$i; done; git add .; git commit -qm 1";
    let prepared = std::process::Command::new("sh")
        .args(["-c", prepare])
        .current_dir(shop.work.path())
        .env("HOME", shop.aside.at("home"))
        .status()?;
    if !prepared.success() {
        return Err("the repository cannot be made".into());
    }
    let script = "set -e; rm -rf c; git clone -q seed c; cd c; echo more > new; git add new; git commit -qm 2; \
         git gc -q; git log --oneline | cat; cd ..; rm -rf c";
    shop.learn(&[], &["sh", "-c", script])?;
    shop.works(&["sh", "-c", script])?;
    Ok(())
}

fn make_goes_there_and_back() -> Verdict {
    let shop = project()?;
    shop.learn(&[], &["make", "-s", "-j2", "check"])?;
    for object in ["prog", "main.o", "f0.o", "f3.o"] {
        fs::remove_file(shop.work.at(object))?;
    }
    shop.works(&["make", "-s", "-j2", "check"])?;
    // Another compiler was not seen.
    let (finished, _) = shop.enforce(&["make", "-s", "CC=false", "-B", "prog"])?;
    finished.fails()?;
    Ok(())
}

fn two_runs_of_a_build_learn_the_same() -> Verdict {
    let shop = project()?;
    let build = ["sh", "-c", "make -s -j2 check && make -s clean"];
    shop.learn(&[], &build)?;
    let first = shop.aside.at("first.toml");
    fs::rename(shop.profile(), &first)?;
    shop.learn(&[], &build)?;
    let compare = |other: &std::path::Path| {
        let both = [
            "profile".into(),
            "diff".into(),
            first.clone(),
            other.to_owned(),
        ];
        shop.ringfence(both).run()
    };
    compare(&shop.profile())?.succeeds()?;
    // Another build differs.
    fs::remove_file(shop.profile())?;
    shop.learn(&[], &["sh", "-c", "make -s -j2 check && cat /etc/fstab"])?;
    compare(&shop.profile())?
        .exits_with(1)?
        .says("/etc/fstab")?;
    Ok(())
}

/// A program of C, in several files.
fn project() -> Result<Workshop, Failed> {
    let shop = Workshop::new()?;
    for number in 0..5 {
        let text = format!("int f{number}(void) {{ return {number}; }}\n");
        shop.work.file(&format!("f{number}.c"), &text)?;
    }
    shop.work.file("main.c", "int main(void) { return 0; }\n")?;
    let text = "OBJECTS = f0.o f1.o f2.o f3.o f4.o main.o\ncheck: prog\n\t./prog\nprog: $(OBJECTS)\n\
                \t$(CC) -o $@ $(OBJECTS)\nclean:\n\trm -f prog *.o\n";
    shop.work.file("Makefile", text)?;
    Ok(shop)
}

fn python_goes_there_and_back() -> Verdict {
    let shop = Workshop::new()?;
    let script = "import json, tempfile\n\
                  open('data.json', 'w').write(json.dumps({'a': 1}))\n\
                  print(json.load(open('data.json')))\n\
                  with tempfile.NamedTemporaryFile() as file: file.write(b'x')\n";
    shop.work.file("script.py", script)?;
    shop.learn(&[], &[PYTHON, "script.py"])?;
    fs::remove_file(shop.work.at("data.json"))?;
    shop.works(&[PYTHON, "script.py"])?;
    let (finished, _) = shop.enforce(&[PYTHON, "-c", "open('/etc/fstab').read()"])?;
    finished.fails()?;
    Ok(())
}

fn tight_allows_what_was_seen_and_not_its_neighbour() -> Verdict {
    let shop = Workshop::new()?;
    shop.work.file("seen", "one")?;
    shop.work.file("neighbour", "two")?;
    shop.work.file("written", "three")?;
    let script = "cat seen; echo more >> written";
    shop.learn(&["--tight"], &["sh", "-c", script])?;
    shop.works(&["sh", "-c", script])?.says("one")?;
    for other in [
        "cat neighbour",
        "cat written",
        "echo x >> seen",
        "head seen",
    ] {
        let (finished, _) = shop.enforce(&["sh", "-c", other])?;
        finished
            .fails()?
            .does_not_say("two")?
            .does_not_say("three")?;
    }
    Ok(())
}

/// Shells open their terminal when they start. Where there is none, that fails before anybody has been asked.
fn a_terminal_that_nobody_has_is_no_news() -> Verdict {
    let shop = Workshop::new()?;
    shop.work.file("seen", "one")?;
    let command = [
        "setsid",
        "-w",
        "sh",
        "-c",
        "(: </dev/tty) 2>/dev/null && exit 1; cat seen; sleep 0.2",
    ];
    shop.learn(&["--tight"], &command)?;
    shop.works(&command)?.says("one")?;
    Ok(())
}

fn a_secret_is_asked_about_and_not_allowed() -> Verdict {
    let shop = Workshop::new()?;
    shop.aside.file("home/.ssh/id_ed25519", "KEY")?;
    let script = "cat $HOME/.ssh/id_ed25519";
    let learned = shop.learn(&[], &["sh", "-c", script])?;
    learned.complains("private keys")?.complains("id_ed25519")?;
    let (finished, _) = shop.enforce(&["sh", "-c", script])?;
    finished.fails()?.does_not_say("KEY")?;
    let text = shop.text()?;
    let asked = text
        .lines()
        .any(|line| line.contains("#? ") && line.contains("${HOME}/.ssh/id_ed25519"));
    finished.claim(asked, "a question in the profile")?;
    shop.learn(&["--accept-secrets"], &["sh", "-c", script])?;
    shop.works(&["sh", "-c", script])?.says("KEY")?;
    Ok(())
}
