//! What the specification asks of a runtime (runtime.md, "Lifecycle" and "Operations"), error cases above all: at each step exit code,
//! output, complaint, log and state are those of the bare runtime.

use std::fs;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::bundle::{Bundle, Ended};
use super::runtimes::{FOREVER, behind};
use crate::kit::{Need, Suite, Verdict};

/// In emulated machines each of the calls takes a second.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Processor,
    Need::Program("runc"),
    Need::Program("crun"),
    Need::Program("busybox"),
];

pub(crate) fn register(suite: &mut Suite) {
    for (name, body) in [
        (
            "oci::contest::each_step_of_a_life_answers_as_the_bare_runtime",
            life as fn(&str) -> Verdict,
        ),
        (
            "oci::contest::a_bundle_that_is_none_is_refused_as_by_the_bare_runtime",
            bundles,
        ),
    ] {
        for runtime in behind() {
            suite.test(format!("{name}[{runtime}]"), NEEDS, move || body(runtime));
        }
    }
}

fn life(runtime: &str) -> Verdict {
    same(runtime, |runtime| {
        let bundle = Bundle::of(runtime, FOREVER)?;
        let mut seen = Vec::new();
        // Of a container that is not there.
        for verb in ["state", "start", "delete", "pause", "resume"] {
            seen.push(told(&bundle, &[verb, "@"])?);
        }
        seen.push(told(&bundle, &["kill", "@", "KILL"])?);
        seen.push(told(&bundle, &["exec", "@", "true"])?);
        seen.push(told(&bundle, &["delete", "--force", "@"])?);
        // Created, and created twice.
        seen.push(shown(&bundle, "create", &bundle.create()?));
        seen.push(told(&bundle, &["create", "--bundle", ".", "@"])?);
        seen.push(told(&bundle, &["state", "@"])?);
        // One that was never started is deleted.
        seen.push(told(&bundle, &["delete", "@"])?);
        seen.push(shown(&bundle, "create", &bundle.create()?));
        // Running.
        for words in [
            &["start", "@"][..],
            &["start", "@"],
            &["state", "@"],
            &["delete", "@"],
            &["exec", "@", "cat", "/data/kept"],
            &["exec", "@", "sh", "-c", "exit 3"],
            &["exec", "@"],
            &["kill", "@", "NOSUCH"],
            &["kill", "@", "KILL"],
        ] {
            seen.push(told(&bundle, words)?);
        }
        until_stopped(&bundle)?;
        // Stopped, and gone.
        for words in [
            &["state", "@"][..],
            &["start", "@"],
            &["exec", "@", "true"],
            &["pause", "@"],
            &["kill", "@", "KILL"],
            &["delete", "@"],
            &["delete", "@"],
            &["state", "@"],
        ] {
            seen.push(told(&bundle, words)?);
        }
        Ok(seen)
    })
}

/// Who reads the bundle first complains first, so that words may differ where there is no JSON at all.
fn bundles(runtime: &str) -> Verdict {
    same(runtime, |runtime| {
        let mut seen = Vec::new();
        let mut changes: Vec<fn(&mut Value)> = vec![
            |value| value["process"]["args"] = json!([]),
            |value| value["root"]["path"] = json!("nowhere"),
            |value| value["process"] = Value::Null,
            |value| value["linux"]["namespaces"] = json!([{ "type": "nosuch" }]),
        ];
        // youki takes no working directory for the root; a profile's rules about it would be about nothing.
        if !runtime.ends_with("youki") {
            changes.push(|value| value["process"]["cwd"] = json!(""));
        }
        for change in changes {
            let bundle = Bundle::of(runtime, "true")?.with(change)?;
            let ended = bundle.call(&["run", "@"])?;
            seen.push(refused(&ended));
        }
        let bundle = Bundle::of(runtime, "true")?;
        for text in ["", "{", "[]"] {
            fs::write(bundle.path().join("config.json"), text)?;
            let ended = bundle.call(&["run", "@"])?;
            seen.push(refused(&ended));
        }
        fs::remove_file(bundle.path().join("config.json"))?;
        seen.push(told(&bundle, &["run", "@"])?);
        Ok(seen)
    })
}

/// crun looks at some of it after its hooks, and a hook that refuses it has an exit code of its own.
fn refused(ended: &Ended) -> String {
    format!(
        "{} {:?} {}",
        ended.code() == Some(0),
        ended.out(),
        ended.err().is_empty()
    )
}

/// Both answer the same.
fn same(runtime: &str, steps: impl Fn(&str) -> Result<Vec<String>, Failed>) -> Verdict {
    let bare = steps(runtime.trim_start_matches("ringfence-"))?;
    let fenced = steps(runtime)?;
    if bare.len() != fenced.len() {
        return Err(format!("{bare:#?}\n{fenced:#?}").into());
    }
    let differing: Vec<_> = bare
        .iter()
        .zip(&fenced)
        .filter(|(one, other)| one != other)
        .collect();
    match differing.is_empty() {
        true => Ok(()),
        false => Err(format!("bare and fenced: {differing:#?}").into()),
    }
}

/// A call with a log for the engine, and all that it says, but for what is another each time.
fn told(bundle: &Bundle, words: &[&str]) -> Result<String, Failed> {
    let log = bundle.path().join("log.json");
    fs::write(&log, "")?;
    let path = log.to_string_lossy().into_owned();
    let all = [&["--log", &path, "--log-format", "json"], words].concat();
    let ended = bundle.call(&all)?;
    let mut text = shown(bundle, &words.join(" "), &ended);
    for line in fs::read_to_string(&log)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let message = plain(bundle, line["msg"].as_str().unwrap_or_default());
        text.push_str(&format!("\nlog: {} {message}", line["level"]));
    }
    Ok(text)
}

fn shown(bundle: &Bundle, what: &str, ended: &Ended) -> String {
    let out = match serde_json::from_str::<Value>(&ended.out()) {
        Ok(mut state) if state.is_object() => {
            for varying in ["pid", "created", "systemd-scope"] {
                if let Some(value) = state.get_mut(varying) {
                    *value = json!(value.as_i64() != Some(0));
                }
            }
            state.to_string()
        }
        _ => ended.out(),
    };
    let complaints = ended.err();
    let complaints: Vec<String> = complaints
        .lines()
        .map(|line| without_time(&plain(bundle, line)))
        .collect();
    format!(
        "{what}: {:?}\n{}\n{}",
        ended.code(),
        plain(bundle, &out),
        complaints.join("\n")
    )
}

/// Without the container's name and place, and that of the runtime's program, which is called by its whole path.
fn plain(bundle: &Bundle, text: &str) -> String {
    text.replace("/usr/bin/crun: ", "crun: ")
        .replace(bundle.id(), "ID")
        .replace(&*bundle.path().to_string_lossy(), "BUNDLE")
}

/// `time="..." level=...`, as runc writes, and `2026-...Z: ...`, as crun does.
fn without_time(line: &str) -> String {
    match line
        .strip_prefix("time=\"")
        .and_then(|rest| rest.split_once("\" "))
    {
        Some((_, rest)) => rest.to_owned(),
        None => match line.split_once("Z: ") {
            Some((time, rest)) if time.starts_with("20") => rest.to_owned(),
            _ => line.to_owned(),
        },
    }
}

fn until_stopped(bundle: &Bundle) -> Verdict {
    let deadline = Instant::now() + Duration::from_secs(60);
    while bundle.state()?["status"] != "stopped" {
        if Instant::now() > deadline {
            return Err("the container does not stop".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
