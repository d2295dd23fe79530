//! Names that programs draw in /tmp, where a profile lets them be made by a pattern, under the fallback engine.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use libtest_mimic::Failed;

use crate::kit::{Finished, Folder, Need, Ringfence, Suite, Verdict};

const NEEDS: &[Need] = &[Need::Root, Need::NoBpfLsm];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "temporary::names_by_a_pattern_are_made_where_nobody_else_is",
        NEEDS,
        names_by_a_pattern_are_made_where_nobody_else_is,
    );
    suite.test(
        "temporary::what_is_allowed_of_the_directory_below_stays_and_nothing_else",
        NEEDS,
        what_is_allowed_of_the_directory_below_stays_and_nothing_else,
    );
    suite.test(
        "temporary::two_fences_do_not_see_each_others_names",
        NEEDS,
        two_fences_do_not_see_each_others_names,
    );
    suite.test(
        "temporary::what_is_made_there_is_executed_only_if_a_pattern_says_so",
        NEEDS,
        what_is_made_there_is_executed_only_if_a_pattern_says_so,
    );
    suite.test(
        "temporary::a_spelled_name_that_goes_with_the_fence_is_told",
        NEEDS,
        a_spelled_name_that_goes_with_the_fence_is_told,
    );
    suite.test(
        "temporary::a_pipe_that_may_only_be_read_is_not_written_to_where_nobody_can_list",
        NEEDS,
        a_pipe_that_may_only_be_read_is_not_written_to_where_nobody_can_list,
    );
    suite.test(
        "temporary::a_directory_that_is_granted_or_read_as_a_whole_is_the_real_one",
        NEEDS,
        a_directory_that_is_granted_or_read_as_a_whole_is_the_real_one,
    );
}

/// A profile with these rules, and what a command under it leaves in /tmp and /var/tmp.
struct Drawing {
    folder: Folder,
    profile: PathBuf,
    /// With it begins what the profile lets be made.
    name: String,
    ordinary: bool,
}

impl Drawing {
    /// `rights` are more lines, in which `NAME` stands for the name.
    fn with(rights: &str, ordinary: bool) -> Result<Self, Failed> {
        let folder = Folder::below(Path::new("/tmp"))?;
        let last = folder.path().file_name().unwrap_or_default();
        let name = format!("own-{}", last.to_string_lossy());
        let text = format!(
            "version = 1\nextends = [\"base\", \"coreutils\"]\n[files]\n{}\n",
            rights.replace("NAME", &name)
        );
        let profile = folder.file("own.toml", &text)?;
        Ok(Self {
            folder,
            profile,
            name,
            ordinary,
        })
    }

    fn ringfence(&self, flags: &[&str], script: &str) -> Ringfence {
        let ringfence = Ringfence::with(["run", "--engine", "fallback", "-p"])
            .and([&self.profile])
            .and(flags)
            .and(["--", "sh", "-c", &script.replace("NAME", &self.name)])
            .in_folder(self.folder.path());
        match self.ordinary {
            true => ringfence.by_ordinary_user(),
            false => ringfence,
        }
    }

    fn runs(&self, script: &str) -> Result<Finished, Failed> {
        self.ringfence(&[], script).run()
    }

    /// Something of another in one of the places.
    fn of_another(place: &str, prefix: &str) -> Result<tempfile::NamedTempFile, Failed> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(place)?;
        fs::write(file.path(), "told")?;
        Ok(file)
    }
}

/// The shell, what was drawn in both places, and the working directory.
const RULES: &str = "read = [\"/bin/sh\", \"/usr/bin/dash\", \"/tmp/NAME.*\", \"/var/tmp/NAME.*\", \"${CWD}/**\"]\n\
                     write = [\"/tmp/NAME.*\", \"/var/tmp/NAME.*\", \"${CWD}/**\"]\n\
                     exec = [\"/bin/sh\", \"/usr/bin/dash\"]";

fn names_by_a_pattern_are_made_where_nobody_else_is() -> Verdict {
    for ordinary in [false, true] {
        let drawing = Drawing::with(RULES, ordinary)?;
        for place in ["/tmp", "/var/tmp"] {
            let other = Drawing::of_another(place, "ringfence-other-")?;
            let other = other.path().display();
            let script = format!(
                "set -e; t=$(mktemp -p {place} NAME.XXXXXX); echo made >$t; cat $t; ls {place}; mv $t $t.x; rm $t.x; : >{place}/NAME.left\n\
                 cat {other} || true; ! echo x >>{other}.x || rm {other}.x"
            );
            let finished = drawing.runs(&script)?;
            finished
                .succeeds()?
                .says("made\n")?
                .says(&drawing.name)?
                .does_not_say("told")?
                .does_not_say("ringfence-other-")?;
            let left = format!("{place}/{}.left", drawing.name);
            finished.claim(!Path::new(&left).exists(), "nothing outside")?;
        }
    }
    Ok(())
}

fn what_is_allowed_of_the_directory_below_stays_and_nothing_else() -> Verdict {
    for ordinary in [false, true] {
        let rules = RULES
            .replace("\"${CWD}/**\"]\nwrite", "\"${CWD}/given\", \"${CWD}/in/**\", \"${CWD}/out/**\", \"/tmp/NAME-there\"]\nwrite")
            .replace("\"${CWD}/**\"]\nexec", "\"${CWD}/out/**\"]\nexec");
        let drawing = Drawing::with(&rules, ordinary)?;
        let folder = &drawing.folder;
        for name in ["given", "other", "in/d/file", "out/file"] {
            folder.file(name, &format!("of {name}\n"))?;
        }
        for name in ["given", "in", "in/d", "in/d/file", "out", "out/file"] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(folder.at(name), fs::Permissions::from_mode(0o777))?;
        }
        let there = format!("/tmp/{}-there", drawing.name);
        fs::write(&there, "of there\n")?;
        let link = format!("/tmp/{}-link", drawing.name);
        std::os::unix::fs::symlink(folder.at("in"), &link)?;
        std::os::unix::fs::symlink("in/d", folder.at("inner"))?;
        let finished = drawing.runs(
            "cat given in/d/file out/file /tmp/NAME-there /tmp/NAME-link/d/file inner/file; echo more >>out/file && echo new >out/new && echo written\n\
             pwd; echo drawn >/tmp/NAME.x && cat /tmp/NAME.x\n\
             cat other; for name in given new in/d/file in/new /tmp/NAME-there; do echo x >>$name && echo changed $name; done; true",
        );
        fs::remove_file(&there)?;
        fs::remove_file(&link)?;
        let finished = finished?;
        finished
            .succeeds()?
            .says("of given\nof in/d/file\nof out/file\nof there\nof in/d/file\nof in/d/file\nwritten\n")?
            .says(&folder.path().display().to_string())?
            .says("drawn\n")?
            .does_not_say("of other")?
            .does_not_say("changed")?;
        let outside = fs::read_to_string(folder.at("out/file"))? == "of out/file\nmore\n"
            && folder.at("out/new").exists();
        finished.claim(outside, "what was written, outside")?;
    }
    Ok(())
}

fn two_fences_do_not_see_each_others_names() -> Verdict {
    let drawing = Drawing::with(RULES, false)?;
    let mut command = drawing
        .ringfence(
            &[],
            "echo mine >/tmp/NAME.one; echo there; read word; cat /tmp/NAME.one",
        )
        .command();
    let mut first = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut asks, hears) = (first.stdin.take(), first.stdout.take());
    let mut lines = BufReader::new(hears.ok_or("no standard output")?).lines();
    let begun = lines.next().transpose()?;
    let second = drawing.runs("cat /tmp/NAME.one; echo other >/tmp/NAME.one; ls /tmp");
    if let Some(asks) = &mut asks {
        writeln!(asks, "go")?;
    }
    let rest = lines.collect::<Result<Vec<_>, _>>()?;
    first.wait()?;
    let second = second?;
    second.succeeds()?.does_not_say("mine")?;
    second.claim(begun.as_deref() == Some("there"), "the other one to stand")?;
    second.claim(
        rest == ["mine"],
        &format!("the file of the other as it was, not {rest:?}"),
    )?;
    Ok(())
}

fn what_is_made_there_is_executed_only_if_a_pattern_says_so() -> Verdict {
    let script =
        "cp /usr/bin/true /tmp/NAME.program && echo copied && /tmp/NAME.program && echo executed";
    let rules = RULES.replace(
        "exec = [",
        "exec = [\"${CWD}/tool\", \"/tmp/NAME.program.not\", ",
    );
    let drawing = Drawing::with(&rules, true)?;
    // The command may make and execute this one, in the real directory.
    drawing.folder.script("tool", "#!/bin/sh\necho tool\n")?;
    drawing
        .runs(script)?
        .fails()?
        .says("copied")?
        .does_not_say("executed")?;
    let rules = RULES.replace("exec = [", "exec = [\"/tmp/NAME.*\", ");
    let drawing = Drawing::with(&rules, true)?;
    drawing.runs(script)?.succeeds()?.says("executed")?;
    Ok(())
}

fn a_spelled_name_that_goes_with_the_fence_is_told() -> Verdict {
    let rules = RULES.replace("write = [", "write = [\"/tmp/NAME-report\", ");
    let drawing = Drawing::with(&rules, false)?;
    let report = format!("/tmp/{}-report", drawing.name);
    let told = format!("{report} does not exist yet, and what the command makes there is gone");
    let script = "echo more >>/tmp/NAME-report";
    let finished = drawing.runs(script)?;
    finished.succeeds()?.complains(&told)?;
    finished.claim(!Path::new(&report).exists(), "nothing outside")?;
    let dry = drawing.ringfence(&["--dry-run"], script).run()?;
    dry.complains(" /tmp is the fence's own")?
        .complains(&told)?;
    // Where it is there, it is that one.
    fs::write(&report, "first\n")?;
    let finished = drawing.runs(script);
    let held = fs::read_to_string(&report);
    fs::remove_file(&report)?;
    let finished = finished?;
    finished.succeeds()?;
    finished.claim(held? == "first\nmore\n", "the file outside to have grown")?;
    finished.claim(!finished.err().contains("is gone"), "nothing told")?;
    Ok(())
}

fn a_pipe_that_may_only_be_read_is_not_written_to_where_nobody_can_list() -> Verdict {
    use std::os::unix::fs::PermissionsExt as _;
    let rules = RULES.replace("\"${CWD}/**\"]\nexec", "\"${CWD}/out/**\"]\nexec");
    let drawing = Drawing::with(&rules, true)?;
    let folder = &drawing.folder;
    fs::create_dir(folder.at("entered"))?;
    let pipe = folder.at("entered/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666))?;
    for (path, mode) in [(&pipe, 0o666), (&folder.at("entered"), 0o711)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    // Opened for both, it waits for nobody.
    let finished = drawing.runs("echo x 1<>entered/pipe && echo written; true")?;
    finished.succeeds()?.does_not_say("written")?;
    let outside = drawing.runs("ls entered && echo listed; true")?;
    outside.does_not_say("listed")?;
    Ok(())
}

fn a_directory_that_is_granted_or_read_as_a_whole_is_the_real_one() -> Verdict {
    let other = Drawing::of_another("/tmp", "ringfence-other-")?;
    let script = format!(
        "cat {}; echo x >/tmp/NAME.left && echo made; true",
        other.path().display()
    );
    let whole = RULES.replace("write = [", "write = [\"/tmp/**\", ");
    let drawing = Drawing::with(&whole, false)?;
    let finished = drawing.runs(&script)?;
    let left = format!("/tmp/{}.left", drawing.name);
    let is_outside = Path::new(&left).exists();
    fs::remove_file(&left).ok();
    finished.says("made")?;
    finished.claim(is_outside, "the file outside")?;
    // All that others have may be read, and so has to be there: the engine makes no names then, and says so.
    let read = RULES.replace("read = [", "read = [\"/tmp/**\", ");
    let drawing = Drawing::with(&read, false)?;
    drawing.runs(&script)?.says("told")?.does_not_say("made")?;
    let dry = drawing.ringfence(&["--dry-run"], &script).run()?;
    let own = dry.err().contains(" /tmp is the fence's own");
    dry.claim(!own, "no directory of its own")?;
    Ok(())
}
