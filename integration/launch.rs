//! The run around the fence: exit codes, signals, pipes, descriptors, users, limits, leftovers.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::{Fence, Need, PYTHON, Ringfence, Suite, Verdict, binary};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let root = &[Need::Root];
    for (name, body) in [
        (
            "launch::the_exit_code_is_the_commands",
            the_exit_code_is_the_commands as fn() -> Verdict,
        ),
        (
            "launch::a_command_that_is_not_there_is_127",
            a_command_that_is_not_there_is_127,
        ),
        (
            "launch::what_cannot_be_run_is_126",
            what_cannot_be_run_is_126,
        ),
        (
            "launch::a_profile_that_lets_nothing_be_executed_says_so",
            a_profile_that_lets_nothing_be_executed_says_so,
        ),
        ("launch::a_signal_is_forwarded", a_signal_is_forwarded),
        (
            "launch::signals_are_ignored_as_by_the_caller_and_no_others",
            signals_are_ignored_as_by_the_caller_and_no_others,
        ),
        ("launch::pipes_are_exact", pipes_are_exact),
        (
            "launch::a_descriptor_is_inherited_only_if_kept",
            a_descriptor_is_inherited_only_if_kept,
        ),
        ("launch::runs_as_another_user", runs_as_another_user),
        ("launch::limits_hold", limits_hold),
        ("launch::time_that_is_up_is_124", time_that_is_up_is_124),
        ("launch::leftovers_are_ended", leftovers_are_ended),
        ("launch::a_dry_run_starts_nothing", a_dry_run_starts_nothing),
    ] {
        suite.test(name, root, body);
    }
    suite.test(
        "launch::the_number_of_tasks_is_limited",
        &[Need::Root, Need::Controller("pids")],
        the_number_of_tasks_is_limited,
    );
    suite.test(
        "launch::runs_for_an_ordinary_user",
        &[Need::Root, Need::NoBpfLsm],
        runs_for_an_ordinary_user,
    );
}

fn shell(options: &[&str], script: &str) -> Result<crate::kit::Finished, libtest_mimic::Failed> {
    Fence::untrusted()?
        .and(options.iter().copied())
        .run(["sh", "-c", script])
        .run()
}

fn the_exit_code_is_the_commands() -> Verdict {
    shell(&[], "exit 42")?.exits_with(42)?;
    shell(&[], "exit 0")?.exits_with(0)?;
    shell(&[], "kill -TERM $$")?.exits_with(128 + 15)?;
    Ok(())
}

fn a_command_that_is_not_there_is_127() -> Verdict {
    let fence = Fence::untrusted()?;
    for name in ["ringfence-test-no-such-program", "./not-here", "/not/here"] {
        fence.run([name]).run()?.exits_with(127)?.complains(name)?;
    }
    Ok(())
}

fn what_cannot_be_run_is_126() -> Verdict {
    let fence = Fence::untrusted()?;
    fence.folder().file("plain", "no program")?;
    fence.folder().script("garbage", "no program")?;
    // The head of a program for a machine that nobody has.
    let head = "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x7f\x7f\x01\0\0\0";
    fence.folder().script("elsewhere", head)?;
    std::fs::create_dir(fence.at("folder"))?;
    for name in ["./plain", "./garbage", "./elsewhere", "./folder"] {
        fence.run([name]).run()?.exits_with(126)?;
    }
    Ok(())
}

fn a_profile_that_lets_nothing_be_executed_says_so() -> Verdict {
    const HINT: &str = "add `-p untrusted`";
    let run = |words: &str| Ringfence::with(["run"]).and(words.split(' ')).run();
    let alone = run("-p registry/npm -- true")?;
    alone.exits_with(126)?.complains(HINT)?;
    run("-p untrusted -p registry/npm -- true")?.exits_with(0)?;
    // Something may be executed, and this is not it.
    let other = run("-p registry/npm --read /usr/bin/true --exec /usr/bin/true -- id")?;
    other
        .exits_with(126)?
        .claim(!other.err().contains(HINT), "no such hint")?;
    Ok(())
}

fn a_signal_is_forwarded() -> Verdict {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script = format!("trap 'exit 9' {name}; echo ready; read line");
        let fence = Fence::untrusted()?;
        let mut child = fence
            .run(["sh", "-c", &script])
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // Waiting would close it, and the end of its input is another reason to end.
        let input = child.stdin.take();
        let mut out = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        let code = child.wait()?.code();
        drop(input);
        if line != "ready\n" || code != Some(9) {
            return Err(format!("{signal}: said {line:?} and ended with {code:?}").into());
        }
    }
    Ok(())
}

fn signals_are_ignored_as_by_the_caller_and_no_others() -> Verdict {
    const ASKS: &str = "import signal as s; ignored = [int(n) for n in s.valid_signals() if s.getsignal(n) == s.SIG_IGN]; \
                        print(sorted(ignored), s.pthread_sigmask(s.SIG_BLOCK, []))";
    let told = |before: &[&str]| -> Result<String, libtest_mimic::Failed> {
        let out = Command::new("sh")
            .args(["-c", "trap '' HUP USR1 TTOU; exec \"$@\"", "sh"])
            .args(before)
            .args([PYTHON, "-IS", "-c", ASKS])
            .output()?;
        Ok(String::from_utf8(out.stdout)?)
    };
    let ringfence = binary();
    let ringfence = ringfence.to_str().ok_or("a path that is not UTF-8")?;
    let (outside, inside) = (told(&[])?, told(&[ringfence, "run", "-q", "--"])?);
    if outside.is_empty() || inside != outside {
        return Err(format!("{outside} outside, and inside {inside}").into());
    }
    Ok(())
}

fn pipes_are_exact() -> Verdict {
    let bytes: Vec<u8> = (0..1u32 << 20)
        .map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let fence = Fence::untrusted()?;
    let mut child = fence
        .run(["cat"])
        .command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut received = Vec::new();
    child
        .stdout
        .take()
        .ok_or("no standard output")?
        .read_to_end(&mut received)?;
    child.wait()?;
    writer.join().map_err(|_| "the writer panicked")??;
    if received == bytes {
        return Ok(());
    }
    Err(format!("{} bytes came back otherwise", received.len()).into())
}

fn a_descriptor_is_inherited_only_if_kept() -> Verdict {
    let fence = Fence::untrusted()?;
    fence.folder().file("kept", "kept content")?;
    for (option, there) in [("--keep-fd=7", true), ("--wait-all", false)] {
        let output = Command::new("sh")
            .args(["-c", r#"exec "$0" run "$1" -- sh -c 'cat <&7' 7<kept"#])
            .arg(binary())
            .arg(option)
            .current_dir(fence.folder().path())
            .output()?;
        if (output.stdout == b"kept content") != there {
            return Err(format!("{option}: {output:?}").into());
        }
    }
    fence.run(["true"]).run()?.succeeds()?;
    Fence::untrusted()?
        .and(["--keep-fd", "99"])
        .run(["true"])
        .run()?
        .exits_with(125)?
        .complains("99")?;
    Ok(())
}

fn runs_as_another_user() -> Verdict {
    shell(&["--user", "65534"], "id -u; id -g")?
        .succeeds()?
        .says("65534\n65534\n")?;
    shell(&["--user", "no-such-user"], "echo ran")?
        .exits_with(125)?
        .does_not_say("ran")?;
    Ok(())
}

fn limits_hold() -> Verdict {
    shell(&["--open-files", "20"], "ulimit -n")?
        .succeeds()?
        .says("20\n")?;
    let write = "dd if=/dev/zero of=$TMPDIR/x bs=4096 count=4 2>/dev/null";
    shell(&["--file-size", "4KiB"], write)?.fails()?;
    shell(&["--file-size", "1MiB"], write)?.succeeds()?;
    let memory = |size: &str| {
        Fence::untrusted()?
            .and(["--best-effort", "limits", "--memory", size])
            .run([PYTHON, "-I", "-c", "x = b'x' * (300 << 20)"])
            .run()
    };
    memory("100MiB")?.fails()?;
    memory("1GiB")?.succeeds()?;
    Ok(())
}

fn the_number_of_tasks_is_limited() -> Verdict {
    let script = "for x in 1 2 3 4 5 6; do sh -c 'read line' & done; wait; echo all";
    shell(&["--pids", "4"], script)?
        .fails()?
        .does_not_say("all")?;
    shell(&["--pids", "40"], script)?.succeeds()?.says("all")?;
    Ok(())
}

fn time_that_is_up_is_124() -> Verdict {
    shell(&["--time", "1s"], "sleep 600")?.exits_with(124)?;
    Ok(())
}

fn leftovers_are_ended() -> Verdict {
    let finished = shell(&[], "sleep 600 & echo $!")?;
    finished.succeeds()?.complains("left behind")?;
    // One that ended and that nobody asked for yet has no arguments any more.
    let arguments = Path::new("/proc")
        .join(finished.out().trim())
        .join("cmdline");
    let gone = std::fs::read(arguments).map_or(true, |arguments| arguments.is_empty());
    finished.claim(gone, "the sleeper to be gone")?;
    Ok(())
}

fn a_dry_run_starts_nothing() -> Verdict {
    shell(&["--dry-run"], "echo ran")?
        .succeeds()?
        .does_not_say("ran")?
        .complains("engine: ")?
        .complains("files-read")?;
    Ok(())
}

fn runs_for_an_ordinary_user() -> Verdict {
    let fence = Fence::untrusted()?.and(["--best-effort", "all"]);
    fence.folder().file("file", "content")?;
    let finished = fence
        .run(["sh", "-c", "cat file; echo more >> file || exit 3"])
        .by_ordinary_user()
        .run()?;
    finished.exits_with(3)?.says("content")?;
    Ok(())
}
