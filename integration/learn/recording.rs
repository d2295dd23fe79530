//! What a recording holds.

use std::fs;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::{RECORDING, Workshop};
use crate::kit::{Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::an_act_is_told_once_and_counted",
        RECORDING,
        an_act_is_told_once_and_counted,
    );
    suite.test(
        "learn::nothing_of_programs_that_run_side_by_side_is_lost",
        RECORDING,
        nothing_of_programs_that_run_side_by_side_is_lost,
    );
    suite.test(
        "learn::a_name_that_came_and_went_is_resolved",
        RECORDING,
        a_name_that_came_and_went_is_resolved,
    );
    suite.test(
        "learn::what_is_not_there_is_no_need",
        RECORDING,
        what_is_not_there_is_no_need,
    );
    suite.test(
        "learn::others_are_not_recorded",
        RECORDING,
        others_are_not_recorded,
    );
    suite.test(
        "learn::a_recording_that_is_interrupted_gives_a_profile",
        RECORDING,
        a_recording_that_is_interrupted_gives_a_profile,
    );
    suite.test(
        "learn::a_recording_ends_when_its_time_is_up",
        RECORDING,
        a_recording_ends_when_its_time_is_up,
    );
    suite.test(
        "learn::a_profile_can_go_where_it_cannot_be_read_again",
        RECORDING,
        a_profile_can_go_where_it_cannot_be_read_again,
    );
}

/// One run that several tests look at: where programs are loaded in emulation, a recording takes half a minute.
fn recorded() -> Result<&'static Workshop, Failed> {
    static RECORDED: OnceLock<Result<Workshop, String>> = OnceLock::new();
    let recorded = RECORDED.get_or_init(|| {
        record().map_err(|failed| failed.message().unwrap_or("no message").to_owned())
    });
    recorded.as_ref().map_err(|message| message.clone().into())
}

fn record() -> Result<Workshop, Failed> {
    let shop = Workshop::new()?;
    shop.work.file("file", "content")?;
    fs::create_dir_all(shop.work.at("real/inner"))?;
    std::os::unix::fs::symlink("real", shop.work.at("link"))?;
    shop.work.file("build.sh", SCRIPT)?;
    shop.learn(&[], &["sh", "build.sh"])?;
    Ok(shop)
}

const SCRIPT: &str = "
i=0; while [ $i -lt 2000 ]; do read x < file; i=$((i+1)); done
for i in 1 2 3 4 5 6 7 8; do
    (j=0; while [ $j -lt 250 ]; do : > f$i.$j; j=$((j+1)); done) &
done
wait
cat nothing-here 2> /dev/null
rm -f nothing-there
cd link/inner
: > ../../link/gone; mv ./../gone ../moved; rm ../moved; mkdir ../d; rmdir ../d
";

fn an_act_is_told_once_and_counted() -> Verdict {
    let told = recorded()?.traced("/file\"")?;
    one(&told, "\"count\":2000")
}

/// Exactly one line, which holds this.
fn one(lines: &[String], text: &str) -> Verdict {
    match lines {
        [line] if line.contains(text) => Ok(()),
        _ => Err(format!("expected one line with {text}, not {lines:#?}").into()),
    }
}

fn nothing_of_programs_that_run_side_by_side_is_lost() -> Verdict {
    let made = recorded()?.traced("\"create\"")?;
    let mut names: Vec<_> = made
        .iter()
        .filter_map(|line| line.split("\"path\":\"").nth(1)?.split('"').next())
        .filter(|path| path.contains("/f"))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.len() == 2000 {
        return Ok(());
    }
    Err(format!("{} of 2000 files were recorded", names.len()).into())
}

fn a_name_that_came_and_went_is_resolved() -> Verdict {
    let shop = recorded()?;
    for (what, name) in [
        ("rename", "real/gone"),
        ("unlink", "real/moved"),
        ("mkdir", "real/d"),
        ("rmdir", "real/d"),
    ] {
        let path = format!("\"path\":\"{}\"", shop.work.at(name).display());
        let told = shop.traced(&path)?;
        // `unlinkat` with AT_REMOVEDIR is how a directory goes where only calls are seen.
        let is_told = told.iter().any(|line| {
            line.contains(&format!("\"what\":\"{what}\""))
                || (what == "rmdir" && line.contains("\"what\":\"unlink\""))
        });
        if !is_told {
            return Err(format!("no {what} of {name} in {told:#?}").into());
        }
    }
    Ok(())
}

fn what_is_not_there_is_no_need() -> Verdict {
    let told = recorded()?.traced("/nothing-")?;
    if told.is_empty() {
        return Ok(());
    }
    Err(format!("failed look-ups are told: {told:#?}").into())
}

fn others_are_not_recorded() -> Verdict {
    let shop = Workshop::new()?;
    let marker = shop.work.file("outside", "")?;
    let child = shop
        .ringfence(["learn", "--trace"])
        .and([shop.aside.at("trace"), "-o".into(), shop.profile()])
        .and([
            "--",
            "sh",
            "-c",
            ": > ready; while ! [ -e stop ]; do sleep 0.1; done",
        ])
        .command()
        .stderr(Stdio::piped())
        .spawn()?;
    until(|| shop.work.at("ready").exists())?;
    fs::read(&marker)?;
    fs::write(shop.work.at("stop"), "")?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    if !shop.traced("/outside\"")?.is_empty() {
        return Err("an act of another process was recorded".into());
    }
    if shop.traced("/ready\"")?.is_empty() {
        return Err("the command's own act was not recorded".into());
    }
    Ok(())
}

/// Waits until something is so, a minute at most.
pub(super) fn until(holds: impl Fn() -> bool) -> Result<(), Failed> {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        if Instant::now() > end {
            return Err("it did not come to be in a minute".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn a_recording_that_is_interrupted_gives_a_profile() -> Verdict {
    let shop = Workshop::new()?;
    // A kernel that is held up may leave acts out, of whatever runs beside it: that is told, and another test's subject.
    let child = shop
        .ringfence(["learn", "--allow-loss", "-o"])
        .and([shop.profile()])
        .and(["--", "sh", "-c", ": > ready; sleep 600"])
        .command()
        .stderr(Stdio::piped())
        .spawn()?;
    until(|| shop.work.at("ready").exists())?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(130) {
        return Err(format!("ended with {}: {told}", output.status).into());
    }
    if shop.text()?.contains("[files]") {
        return Ok(());
    }
    Err(format!("the profile has no rules: {told}").into())
}

fn a_recording_ends_when_its_time_is_up() -> Verdict {
    let shop = Workshop::new()?;
    let finished = shop.learn(&["--for", "1s"], &["sleep", "600"])?;
    let text = shop.text()?;
    finished.claim(text.contains("sleep"), "a rule for what was executed")?;
    Ok(())
}

fn a_profile_can_go_where_it_cannot_be_read_again() -> Verdict {
    let shop = Workshop::new()?;
    for place in ["/dev/null", "-"] {
        let finished = shop.ringfence(["learn", "-o", place, "--", "true"]).run()?;
        finished.succeeds()?;
        let err = finished.err();
        finished.claim(err.contains("rules from"), "what was learned is told")?;
        finished.claim(!err.contains("cannot hold"), "no word of what is not known")?;
        let has_profile = finished.out().contains("version = 1");
        finished.claim(has_profile == (place == "-"), "`-` is standard output")?;
    }
    Ok(())
}
