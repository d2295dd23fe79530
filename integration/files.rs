//! What may be done to files, act by act: done where a rule lists the path, denied where none does.
//!
//! All tests share one small tree: `read` may be read, `write` and `mixed` may be written, too, but not `mixed/secret`;
//! `closed` is in no rule; in `tools` everything may be done.

use std::path::Path;

use crate::kit::{DENIED, Fence, Folder, Need, OK, Suite, Verdict};

const RULES: &str = r#"
read = ["@/read/**", "@/write/**", "@/mixed/**", "@/tools/**"]
write = ["@/write/**", "@/mixed/**", "@/tools/**"]
exec = ["@/tools/**"]
deny = ["@/mixed/secret/**"]
"#;

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let root = &[Need::Root];
    suite.test(
        "files::reads_only_the_listed_paths",
        root,
        reads_only_the_listed_paths,
    );
    suite.test(
        "files::what_is_not_there_is_not_told_as_denied",
        root,
        what_is_not_there_is_not_told_as_denied,
    );
    suite.test(
        "files::writes_only_the_listed_paths",
        root,
        writes_only_the_listed_paths,
    );
    suite.test(
        "files::empties_only_the_listed_paths",
        root,
        empties_only_the_listed_paths,
    );
    suite.test(
        "files::makes_names_only_in_the_listed_paths",
        root,
        makes_names_only_in_the_listed_paths,
    );
    suite.test(
        "files::removes_only_the_listed_paths",
        root,
        removes_only_the_listed_paths,
    );
    suite.test(
        "files::changes_metadata_of_the_listed_paths_only",
        root,
        changes_metadata_of_the_listed_paths_only,
    );
    suite.test(
        "files::lists_only_the_listed_folders",
        root,
        lists_only_the_listed_folders,
    );
    suite.test(
        "files::a_file_made_after_the_start_is_under_the_same_rules",
        root,
        a_file_made_after_the_start_is_under_the_same_rules,
    );
    suite.test(
        "files::any_bytes_may_be_a_name",
        root,
        any_bytes_may_be_a_name,
    );
    suite.test(
        "files::a_deny_rule_beats_what_allows_everything_around_it",
        root,
        a_deny_rule_beats_what_allows_everything_around_it,
    );
    // Without BPF LSM nothing can tell who may read a link: Landlock has no such right.
    suite.test(
        "files::reads_links_in_the_listed_paths_only",
        &[Need::Root, Need::BpfLsm],
        reads_links_in_the_listed_paths_only,
    );
    suite.test(
        "files::what_is_denied_cannot_be_made_on_any_way",
        &[Need::Root],
        what_is_denied_cannot_be_made_on_any_way,
    );
    // The fallback has to spell a pattern out against what exists at the start.
    suite.test(
        "files::a_pattern_holds_for_names_made_after_the_start",
        &[Need::Root, Need::BpfLsm],
        a_pattern_holds_for_names_made_after_the_start,
    );
    suite.test(
        "files::a_name_counts_whole_however_long_and_deep_it_is",
        &[Need::Root, Need::BpfLsm],
        a_name_counts_whole_however_long_and_deep_it_is,
    );
    // Landlock never looks at a path as a string, so nothing is too long for it.
    suite.test(
        "files::a_path_that_cannot_be_judged_is_denied",
        &[Need::Root, Need::BpfLsm],
        a_path_that_cannot_be_judged_is_denied,
    );
}

/// The tree of this subject.
pub(crate) fn tree() -> Result<Fence, libtest_mimic::Failed> {
    let fence = Fence::with(RULES)?;
    for zone in ["read", "write", "closed", "mixed", "mixed/secret", "tools"] {
        for name in ["file", "other", "folder/inner"] {
            fence.folder().file(&format!("{zone}/{name}"), "content")?;
        }
        std::fs::create_dir(fence.at(&format!("{zone}/empty")))?;
        std::os::unix::fs::symlink("file", fence.at(&format!("{zone}/link")))?;
    }
    Ok(fence)
}

/// Each of the acts is done in the zones that may be written, and denied in all others.
fn follows_writing(acts: &[&str]) -> Verdict {
    let mut claims = Vec::new();
    for act in acts {
        for (zone, end) in [
            ("write", OK),
            ("tools", OK),
            ("read", DENIED),
            ("closed", DENIED),
            ("mixed/secret", DENIED),
        ] {
            claims.push((act.replace('@', zone), end));
        }
    }
    let claims: Vec<_> = claims
        .iter()
        .map(|(act, end)| (act.as_str(), *end))
        .collect();
    tree()?.tries(&claims)
}

fn reads_only_the_listed_paths() -> Verdict {
    tree()?.tries(&[
        ("read read/file", OK),
        ("read write/file", OK),
        ("read mixed/file", OK),
        ("read read/link", OK),
        ("read closed/file", DENIED),
        ("read closed/link", DENIED),
        ("read mixed/secret/file", DENIED),
        ("both closed/file", DENIED),
    ])
}

/// Hooks are not asked about it; an engine that closes a directory answers before it is looked for.
fn what_is_not_there_is_not_told_as_denied() -> Verdict {
    let programs = "\"/usr/bin/cat\", \"/usr/bin/env\"";
    let fence = Fence::with(&format!(
        "read = [\"@/open\", {programs}]\nexec = [{programs}]"
    ))?;
    fence.folder().file("open/closed/there", "x")?;
    let paths = ["open/closed/none", "open/closed/there"].map(|name| fence.at(name));
    let [none, there] = paths
        .each_ref()
        .map(|path| format!("open {}", path.display()));
    let looked = fence
        .run(["/usr/bin/cat".into(), paths[0].clone(), paths[1].clone()])
        .run()?;
    let told = looked.err();
    looked.claim(told.contains(&there) && !told.contains(&none), "one denial")?;
    // As a shell finds a program.
    let path = format!("PATH={}:/usr/bin", fence.at("open/closed").display());
    let found = fence
        .run(["/usr/bin/env", &path, "cat", "/dev/null"])
        .run()?;
    let told = found.succeeds()?.err();
    found.claim(!told.contains("denied"), "no denial")?;
    Ok(())
}

fn writes_only_the_listed_paths() -> Verdict {
    follows_writing(&["write @/file", "append @/file", "both @/other"])
}

fn empties_only_the_listed_paths() -> Verdict {
    follows_writing(&[
        "empty @/file",
        "read-and-empty @/other",
        "truncate @/folder/inner",
    ])
}

fn makes_names_only_in_the_listed_paths() -> Verdict {
    follows_writing(&[
        "create @/new",
        "create @/empty/new",
        "mkdir @/new-folder",
        "fifo @/new-fifo",
        "socket @/new-socket",
        "symlink anything @/new-link",
    ])
}

fn removes_only_the_listed_paths() -> Verdict {
    follows_writing(&["unlink @/file", "unlink @/link", "rmdir @/empty"])
}

fn changes_metadata_of_the_listed_paths_only() -> Verdict {
    follows_writing(&[
        "chmod @/file",
        "chmod @/folder",
        "chown @/file",
        "utimes @/file",
        "setxattr @/file",
        "removexattr @/file",
    ])
}

fn lists_only_the_listed_folders() -> Verdict {
    tree()?.tries(&[
        ("list read", OK),
        ("list read/folder", OK),
        ("list write", OK),
        ("list closed", DENIED),
        ("list closed/folder", DENIED),
        ("list mixed/secret", DENIED),
        ("list .", DENIED),
    ])
}

fn reads_links_in_the_listed_paths_only() -> Verdict {
    tree()?.tries(&[
        ("readlink read/link", OK),
        ("readlink closed/link", DENIED),
        ("readlink mixed/secret/link", DENIED),
    ])
}

fn a_file_made_after_the_start_is_under_the_same_rules() -> Verdict {
    tree()?.tries(&[
        ("mkdir write/late", OK),
        ("create write/late/file", OK),
        ("read write/late/file", OK),
        ("unlink write/late/file", OK),
        ("mkdir closed/late", DENIED),
    ])
}

fn a_pattern_holds_for_names_made_after_the_start() -> Verdict {
    let fence = Fence::with(r#"write = ["@/build/*.o", "@/build/parts-*/**"]"#)?;
    std::fs::create_dir(fence.at("build"))?;
    fence.tries(&[
        ("create build/late.o", OK),
        ("create build/late.c", DENIED),
        ("mkdir build/parts-1", OK),
        ("create build/parts-1/late.c", OK),
        ("mkdir build/late", DENIED),
        ("create build/late.o.c", DENIED),
    ])
}

fn any_bytes_may_be_a_name() -> Verdict {
    let longest = "n".repeat(255);
    let fits = format!("create write/{longest}");
    let denied = format!("create read/{longest}");
    tree()?.tries(&[
        (r"create write/\xff\xfe", OK),
        (r"read write/\xff\xfe", OK),
        (r"create read/\xff\xfe", DENIED),
        (r"create write/two\nlines", OK),
        (r"create read/two\nlines", DENIED),
        (&fits, OK),
        (&denied, DENIED),
    ])
}

fn a_deny_rule_beats_what_allows_everything_around_it() -> Verdict {
    tree()?.tries(&[
        ("write mixed/file", OK),
        ("read mixed/folder/inner", OK),
        ("write mixed/secret/file", DENIED),
        ("read mixed/secret/folder/inner", DENIED),
        ("rename mixed/secret mixed/public", DENIED),
        ("unlink mixed/secret/file", DENIED),
    ])
}

fn what_is_denied_cannot_be_made_on_any_way() -> Verdict {
    for there in ["there", "there/.git", "there/.git/hooks"] {
        let fence =
            Fence::untrusted()?.and(["-p", "coreutils", "--read", ".", "--write", "there/"]);
        let fence = fence.and(["--write", "made/", "--deny", "there/.git/hooks/"]);
        fence.folder().file("made/hooks/file", "content")?;
        std::fs::create_dir_all(fence.at(there))?;
        std::fs::create_dir_all(fence.at("there/free"))?;
        let ways = "echo written > there/free/file && echo begun
            mkdir -p there/.git/hooks; echo x > there/.git/hooks/file
            rm -r there/.git/hooks there/.git; mkdir -p there/.git/hooks; echo x > there/.git/hooks/file
            mv there/.git there/away; mkdir -p there/.git/hooks; echo x > there/.git/hooks/file
            mv made there/.git; mv made/hooks there/.git/hooks
            ln -s ../made there/.git; cp -r made there/.git
            true";
        let finished = fence.run(["sh", "-c", ways]).run()?;
        finished.succeeds()?.says("begun")?;
        // A link to somewhere else is another path, and the rule is about this one.
        let made = fence.at("there/.git/hooks/file");
        let by_link = fence.at("there/.git").is_symlink();
        finished.claim(
            by_link || !made.exists(),
            &format!("nothing denied, from {there}"),
        )?;
    }
    Ok(())
}

/// Its multiples have little in common: 2^128 by the golden ratio.
const SCATTER: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// On the mount that everything is on, the kernel half matches short names where they lie, and not too many of them; all others
/// it copies first. Eight bytes are read at a time, and 24 before the rest.
fn a_name_counts_whole_however_long_and_deep_it_is() -> Verdict {
    // Tables of two sizes: rules about names that have little in common fill the second.
    for (above, others) in [
        ("/tmp", 0),
        ("/tmp", 600),
        ("/var/tmp", 0),
        ("/var/tmp", 600),
    ] {
        let others: String = (1..=others)
            .map(|number: u128| format!(", \"@/other/{:032x}\"", number.wrapping_mul(SCATTER)))
            .collect();
        let rules = format!(
            r#"
            read = ["@/tree/**"{others}]
            deny = ["@/tree/**/*b"]
            "#
        );
        let fence = Fence::around(Folder::below(Path::new(above))?, &rules)?;
        let mut folder = "tree".to_owned();
        let mut claims = Vec::new();
        for depth in 0..11 {
            for length in [1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 30, 31, 32, 33, 40, 255] {
                let begin = "n".repeat(length - 1);
                for (last, end) in [("a", OK), ("b", DENIED)] {
                    let name = format!("{folder}/{begin}{last}");
                    fence.folder().file(&name, "content")?;
                    claims.push((format!("read {name}"), end));
                }
            }
            folder.push('/');
            folder.push_str(&"d".repeat(depth * 5 + 1));
        }
        fence.tries(&claims)?;
    }
    Ok(())
}

fn a_path_that_cannot_be_judged_is_denied() -> Verdict {
    tree()?.tries(&[
        // Longer than 4095 bytes, but not deep.
        ("deep write/empty 17 250", DENIED),
    ])?;
    tree()?.tries(&[("deep write/empty 1000 1", OK)])?;
    tree()?.tries(&[
        // Deep, and in the end as long.
        ("deep write/empty 2100 1", DENIED),
    ])
}
