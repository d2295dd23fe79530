//! What a profile says of programs, privileges and system calls, from its text to what happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use libtest_mimic::Failed;

use crate::kit::{Folder, Need, Ringfence, Suite, Verdict};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "sections::a_program_has_its_rights_and_the_rest_have_theirs",
        &[Need::Root, Need::BpfLsm],
        a_program_has_its_rights_and_the_rest_have_theirs,
    );
    suite.test(
        "sections::where_rights_do_not_change_at_exec_fewer_are_refused",
        &[Need::Root, Need::NoBpfLsm, Need::Landlock],
        where_rights_do_not_change_at_exec_fewer_are_refused,
    );
    suite.test(
        "sections::privileges_are_gained_behind_the_fence_alone",
        &[Need::Root],
        privileges_are_gained_behind_the_fence_alone,
    );
    suite.test(
        "sections::a_call_that_is_not_listed_is_not_there",
        &[Need::Root],
        a_call_that_is_not_listed_is_not_there,
    );
}

/// A folder with a profile of these lines, in which `@` stands for the folder.
fn folder(lines: &str) -> Result<Folder, Failed> {
    let folder = Folder::new()?;
    let text = format!("version = 1\nextends = [\"coreutils\"]\n{lines}\n");
    let text = text.replace('@', &folder.path().display().to_string());
    folder.file("trial.toml", &text)?;
    for name in ["secret", "own", "common"] {
        folder.file(name, &format!("this is {name}\n"))?;
    }
    Ok(folder)
}

/// A copy of `cat` in `folder`.
fn reader(folder: &Folder, mode: u32) -> Result<PathBuf, Failed> {
    let path = folder.at("reader");
    fs::copy("/usr/bin/cat", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(path)
}

fn run(folder: &Folder, options: &[&str], script: &str) -> Ringfence {
    Ringfence::with(["run", "-p", "./trial.toml"])
        .and(options.iter().copied())
        .and(["--", "sh", "-c", script])
        .in_folder(folder.path())
        .variable("XDG_STATE_HOME", folder.at("state"))
}

const PROGRAM: &str = "[files]\nread = [\"@/common\", \"@/reader\"]\nexec = [\"@/reader\"]\n\
                       deny = [\"@/own\"]\n[[program]]\npath = \"@/reader\"\nfiles.read = [\"@/secret\", \"@/own\"]\n";

fn a_program_has_its_rights_and_the_rest_have_theirs() -> Verdict {
    let folder = folder(PROGRAM)?;
    reader(&folder, 0o755)?;
    let script = "cat common; cat secret; ./reader common secret; ./reader own; cat secret";
    let finished = run(&folder, &["--engine", "bpf-lsm"], script).run()?;
    let reader = format!("in program {}", folder.at("reader").display());
    finished
        .claim(
            finished.out() == "this is common\nthis is common\nthis is secret\n",
            "secret once, by the program",
        )?
        .complains(&reader)?
        .complains("deny rule")?;
    Ok(())
}

fn where_rights_do_not_change_at_exec_fewer_are_refused() -> Verdict {
    let wider = folder(PROGRAM)?;
    reader(&wider, 0o755)?;
    let finished = run(&wider, &[], "cat common; ./reader common secret").run()?;
    finished
        .claim(
            finished.out() == "this is common\nthis is common\n",
            "the rights at large for the program too",
        )?
        .fails()?;
    let narrower = folder(&PROGRAM.replace("files.read", "inherit = false\nfiles.read"))?;
    reader(&narrower, 0o755)?;
    run(&narrower, &[], "true")
        .run()?
        .exits_with(125)?
        .complains("has fewer rights in the profile")?;
    run(&narrower, &["--best-effort", "all"], "true")
        .run()?
        .succeeds()?
        .complains("weaker")?;
    Ok(())
}

fn privileges_are_gained_behind_the_fence_alone() -> Verdict {
    let folder =
        folder("[files]\nread = [\"@/own\", \"@/reader\", \"/proc/**\"]\nexec = [\"@/reader\"]\n")?;
    reader(&folder, 0o4755)?;
    for name in ["own", "secret"] {
        fs::set_permissions(folder.at(name), fs::Permissions::from_mode(0o600))?;
    }
    let reads = |options: &[&str], name: &str| {
        let options = [&["--user", "65534:65534"], options].concat();
        run(&folder, &options, &format!("exec ./reader {name}")).run()
    };
    reads(&[], "own")?.fails()?;
    let gain = &["--allow-privilege-gain"];
    reads(gain, "own")?.succeeds()?.says("this is own")?;
    reads(gain, "secret")?.fails()?.does_not_say("this is")?;
    Ok(())
}

fn a_call_that_is_not_listed_is_not_there() -> Verdict {
    let folder = folder("[files]\nread = [\"@/common\"]\n")?;
    let calls = "@default,@basic-io,@file-system,@process,@signal,@io-event,@ipc,@timer,ioctl,fadvise64,uname,sysinfo,setpgid";
    run(
        &folder,
        &["--syscalls", calls],
        "cat common && ! uname -r >/dev/null",
    )
    .run()?
    .fails()?
    .says("this is common")?;
    let without = calls.replace(",uname", "");
    run(
        &folder,
        &["--syscalls", &without],
        "cat common && ! uname -r >/dev/null",
    )
    .run()?
    .succeeds()?
    .says("this is common")?;
    Ok(())
}
