//! The page about a run, in a real browser: it says nothing on its console, its parts are there, and the keyboard is enough.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;

use super::Workshop;
use crate::kit::{Need, Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::the_page_about_a_run_works_in_a_browser",
        &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("chromium"),
        ],
        the_page_about_a_run_works_in_a_browser,
    );
}

/// What a person would do, by keys alone, at the end of the page's own script. What came of it stands in an attribute.
const PERSON: &str = include_str!("page.js");

fn the_page_about_a_run_works_in_a_browser() -> Verdict {
    let shop = Workshop::new()?;
    shop.aside.file("home/.ssh/id_ed25519", "KEY")?;
    let script = "echo x > made-here; cat made-here > other-file; ls > /dev/null; cat $HOME/.ssh/id_ed25519 > '<script>alert(1)<'";
    shop.learn(&[], &["sh", "-c", script])?;
    let page = shop.aside.at("page.html");
    shop.ringfence(["report", "-o"])
        .and([page.clone()])
        .and(["-p", "base"])
        .and([shop.aside.at("trace")])
        .run()?
        .succeeds()?;
    let text = std::fs::read_to_string(&page)?;
    let text = format!("{text}<script>{PERSON}</script>");
    shop.aside.file("tried.html", &text)?;
    for (dark, back) in [(false, "rgb(246, 248, 250)"), (true, "rgb(13, 17, 23)")] {
        let seen = tried(&shop, dark)?;
        for expected in [
            &format!("dark={dark}"),
            &format!("back={back}"),
            "tree=true",
            "focus=filter",
            "fits=true",
            "other=false",
            "empty=true",
            "line=SUMMARY",
            "scripts=2",
        ] {
            if !seen.contains(expected) {
                return Err(format!("not {expected} in {seen}").into());
            }
        }
    }
    let picture = shop.aside.at("page.png");
    browse(
        &shop,
        &[
            "--window-size=1400,1800",
            &format!("--screenshot={}", picture.display()),
        ],
        &page,
    )?;
    if std::fs::metadata(&picture)?.len() < 20_000 {
        return Err("the picture of the page is empty".into());
    }
    Ok(())
}

/// What the page says of itself after somebody has used it.
fn tried(shop: &Workshop, dark: bool) -> Result<String, Failed> {
    let mut flags = vec!["--dump-dom"];
    if dark {
        flags.push("--blink-settings=preferredColorScheme=0");
    }
    let (out, _) = browse(shop, &flags, &shop.aside.at("tried.html"))?;
    let seen = out
        .split("data-seen=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    seen.map(str::to_owned)
        .ok_or_else(|| format!("the page's script did not run:\n{out}").into())
}

/// Opens a page in a browser without a window, which has nothing to say about it.
fn browse(shop: &Workshop, flags: &[&str], page: &Path) -> Result<(String, String), Failed> {
    let profile = format!("--user-data-dir={}", shop.aside.at("browser").display());
    let done = Command::new("chromium")
        .args(
            "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
                .split(' '),
        )
        .args([
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            &profile,
        ])
        .args(flags)
        .arg(format!("file://{}", page.display()))
        .env("HOME", shop.aside.at("home"))
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    // Of the browser's own log, lines of pages are those of the console.
    if !done.status.success() || err.contains("CONSOLE") {
        return Err(format!("{}: {err}", done.status).into());
    }
    Ok((out, err))
}
