//! `[[program]]`: rights of one program and what it starts.

use super::*;

use ringfence::policy::ProgramPolicy;
use ringfence_abi::surface::{MOUNT, Surfaces, USERNS};

const AROUND: &str = "version = 1\n[files]\nread = [\"/srv/**\"]\nexec = [\"/usr/bin/*\"]\n\
                      deny = [\"/srv/secret/**\"]\n";

/// The profile [`AROUND`] with this after it.
fn around(programs: &str) -> String {
    format!("{AROUND}{programs}")
}

fn compiled(programs: &str) -> (Policy, Explainer) {
    compile(&read(&around(programs)).unwrap(), &variables(), &no_links).unwrap()
}

/// Why the profile [`AROUND`] with this after it is refused.
fn refused(programs: &str) -> String {
    match read(&around(programs)) {
        Err(error) => error.to_string(),
        Ok(effective) => match compile(&effective, &variables(), &no_links) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("should be refused: {programs}"),
        },
    }
}

fn may(program: &ProgramPolicy, path: &str) -> u8 {
    program.files.automaton.rights(path.as_bytes())
}

fn enters(policy: &Policy, path: &str) -> u8 {
    policy.files.automaton.program(path.as_bytes())
}

const GIT: &str = "[[program]]\npath = \"/usr/bin/git\"\nfiles.write = [\"/var/cache/git/**\"]\n\
                   network.mode = \"off\"\nkernel.allow = [\"userns\"]\n";

#[test]
fn a_program_has_the_rights_around_it_and_its_own() {
    let (policy, explainer) = compiled(GIT);
    assert_eq!(policy.programs.len(), 1);
    let git = &policy.programs[0];
    assert_eq!(git.path, "/usr/bin/git");
    assert_eq!(may(git, "/srv/x"), READ);
    assert_eq!(may(git, "/var/cache/git/x"), WRITE);
    assert_eq!(rights(&policy, "/var/cache/git/x"), 0);
    assert_eq!(
        (policy.network.is_off(), git.network.is_off()),
        (false, true)
    );
    assert_eq!((policy.kernel, git.kernel), (Surfaces::NONE, USERNS));
    assert_eq!(enters(&policy, "/usr/bin/git"), 1);
    assert_eq!(enters(&policy, "/usr/bin/ls"), 0);
    // What it starts keeps its rights, and it stays within reach of itself.
    assert_eq!(git.files.automaton.program(b"/usr/bin/ls"), 0);
    assert_eq!(git.files.automaton.program(b"/usr/bin/git"), 1);
    assert_eq!(explainer.entered(0, b"/usr/bin/git"), 1);
    assert_eq!(explainer.program(1).as_deref(), Some("/usr/bin/git"));
}

#[test]
fn the_mark_of_a_program_is_no_right() {
    let (policy, _) = compiled(GIT);
    assert_eq!(rights(&policy, "/usr/bin/git"), EXEC);
    assert_eq!(rights(&policy, "/usr/bin/ls"), EXEC);
    let state = |path: &[u8]| policy.files.automaton.state(path);
    // A file must not become the program by a rename, nor the program an ordinary file.
    assert_ne!(state(b"/usr/bin/git"), state(b"/usr/bin/gie"));
    assert_eq!(state(b"/usr/bin/gie"), state(b"/usr/bin/ls"));
}

#[test]
fn a_program_that_inherits_nothing_has_its_own_rights_and_every_denial() {
    let (policy, _) = compiled(
        "[network]\nmode = \"off\"\n[kernel]\nallow = [\"mount\"]\n[[program]]\npath = \"/usr/bin/tool\"\ninherit = false\n\
         files.read = [\"/srv/secret/x\", \"/opt/x\"]\n",
    );
    let tool = &policy.programs[0];
    assert_eq!(may(tool, "/opt/x"), READ);
    assert_eq!(may(tool, "/srv/x"), 0);
    assert_eq!(may(tool, "/usr/bin/ls"), 0);
    // A deny rule beats every allow rule.
    assert_eq!(may(tool, "/srv/secret/x"), 0);
    assert_eq!(
        (policy.network.is_off(), tool.network.is_off()),
        (true, false)
    );
    assert_eq!((policy.kernel, tool.kernel), (MOUNT, Surfaces::NONE));
}

#[test]
fn a_program_in_a_program_is_reached_from_inside_it_alone() {
    let (policy, explainer) = compiled(
        "[[program]]\npath = \"/usr/bin/git\"\n[[program.program]]\npath = \"/usr/bin/ssh\"\nfiles.read = [\"/srv/ssh\", \"/key\"]\n\
         [[program]]\npath = \"/usr/bin/tar\"\nfiles.read = [\"/tar\"]\n",
    );
    let paths: Vec<_> = policy
        .programs
        .iter()
        .map(|one| one.path.as_str())
        .collect();
    assert_eq!(paths, ["/usr/bin/git", "/usr/bin/ssh", "/usr/bin/tar"]);
    assert_eq!(enters(&policy, "/usr/bin/ssh"), 0);
    let [git, ssh, tar] = &policy.programs[..] else {
        unreachable!()
    };
    assert_eq!(git.files.automaton.program(b"/usr/bin/ssh"), 2);
    assert_eq!(tar.files.automaton.program(b"/usr/bin/ssh"), 0);
    // Those at the top stay within reach of all.
    for program in [git, ssh, tar] {
        assert_eq!(program.files.automaton.program(b"/usr/bin/tar"), 3);
    }
    assert_eq!(
        (may(git, "/key"), may(ssh, "/key"), may(tar, "/key")),
        (0, READ, 0)
    );
    assert_eq!((may(ssh, "/tar"), may(tar, "/tar")), (0, READ));
    assert_eq!(explainer.entered(1, b"/usr/bin/ssh"), 2);
}

#[test]
fn a_program_of_a_program_comes_before_one_at_the_top() {
    let (policy, _) = compiled(
        "[[program]]\npath = \"/usr/bin/git\"\n[[program.program]]\npath = \"/usr/bin/ssh\"\n[[program]]\npath = \"/usr/bin/ssh\"\n",
    );
    assert_eq!(enters(&policy, "/usr/bin/ssh"), 3);
    assert_eq!(
        policy.programs[0].files.automaton.program(b"/usr/bin/ssh"),
        2
    );
    assert_eq!(
        policy.programs[1].files.automaton.program(b"/usr/bin/ssh"),
        3
    );
}

#[test]
fn of_two_patterns_that_cover_a_path_the_first_holds() {
    let (policy, explainer) = compiled(
        "[[program]]\npath = \"/usr/bin/git-l*\"\n[[program]]\npath = \"/usr/bin/git*\"\n",
    );
    for (path, number) in [("git-lfs", 1), ("git", 2), ("git-am", 2), ("ls", 0)] {
        let path = format!("/usr/bin/{path}");
        assert_eq!(enters(&policy, &path), number, "{path}");
        assert_eq!(explainer.entered(0, path.as_bytes()), number, "{path}");
    }
}

#[test]
fn a_profiles_own_sections_come_before_those_that_it_extends() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "base.toml",
        &around("[[program]]\npath = \"/usr/bin/g*\"\n"),
    );
    write(
        "own.toml",
        "version = 1\nextends = [\"./base.toml\"]\n[[program]]\npath = \"/usr/bin/gi*\"\n",
    );
    let own: OsString = folder.path().join("own.toml").into();
    let effective = load(&[own], CommandLine::default()).unwrap();
    let (policy, _) = compile(&effective, &variables(), &no_links).unwrap();
    let paths: Vec<_> = policy
        .programs
        .iter()
        .map(|one| one.path.as_str())
        .collect();
    assert_eq!(paths, ["/usr/bin/gi*", "/usr/bin/g*"]);
    assert_eq!(
        (
            enters(&policy, "/usr/bin/git"),
            enters(&policy, "/usr/bin/gcc")
        ),
        (1, 2)
    );
}

#[test]
fn a_program_extends_what_a_program_can_say() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "cache.toml",
        "version = 1\n[variables]\nPLACE = \"/var/x\"\n[files]\nwrite = [\"${PLACE}/**\"]\n",
    );
    write("limited.toml", "version = 1\n[limits]\npids = 3\n");
    let outer = |extended: &str| {
        write(
            "outer.toml",
            &around(&format!(
                "[[program]]\npath = \"/usr/bin/git\"\nextends = [\"{extended}\"]\n"
            )),
        );
        load(
            &[folder.path().join("outer.toml").into()],
            CommandLine::default(),
        )
    };
    let effective = outer("./cache.toml").unwrap();
    let (policy, _) = compile(&effective, &variables(), &no_links).unwrap();
    assert_eq!(may(&policy.programs[0], "/var/x/y"), WRITE);
    assert_eq!(rights(&policy, "/var/x/y"), 0);
    let error = outer("./limited.toml").unwrap_err().to_string();
    assert!(
        error.contains("[limits]") && error.contains("limited.toml:2:"),
        "{error}"
    );
    // A circle by way of a program is a circle.
    let error = outer("./outer.toml").unwrap_err().to_string();
    assert!(error.contains("extend each other"), "{error}");
}

#[test]
fn a_mode_of_the_command_line_is_that_of_every_program() {
    let text = around("[[program]]\npath = \"/usr/bin/git\"\nfiles.mode = \"enforce\"\n");
    let command_line = CommandLine {
        files_mode: Some(Mode::Audit),
        ..CommandLine::default()
    };
    let effective = from_text("ci.toml", text.as_bytes(), false, command_line).unwrap();
    let (policy, _) = compile(&effective, &variables(), &no_links).unwrap();
    assert_eq!(policy.programs[0].files.mode, Mode::Audit);
}

#[test]
fn what_cannot_stand_in_a_program_is_refused_with_its_place() {
    for (inside, message, help) in [
        (
            "limits.pids = 3",
            "[limits] cannot stand in a [[program]]",
            "whole profile",
        ),
        (
            "process.capabilities = []",
            "do not change at exec",
            "whole profile",
        ),
        (
            "protection.exec = \"required\"",
            "[protection] cannot stand",
            "whole profile",
        ),
        (
            "flies.read = []",
            "unknown key `flies` in [[program]]",
            "`files`",
        ),
        ("inherit = \"no\"", "`inherit` is a string", "true or false"),
        (
            "kernel.allow = [\"usrns\"]",
            "no part of the kernel is called `usrns`",
            "`userns`",
        ),
    ] {
        let error = refused(&format!("[[program]]\npath = \"/usr/bin/git\"\n{inside}\n"));
        assert!(
            error.contains(message) && error.contains("ci.toml:8:"),
            "{error}"
        );
        assert!(error.contains(help), "{error}");
    }
    assert!(refused("[[program]]\nbecause = \"x\"\n").contains("no `path`"));
    assert!(refused("[program]\npath = \"/usr/bin/git\"\n").contains("[[program]]"));
}

#[test]
fn a_section_that_is_never_entered_is_refused_with_its_place() {
    let error = refused("[[program]]\npath = \"/opt/tool\"\n");
    assert!(
        error.contains("does not allow to execute") && error.contains("ci.toml:7:8"),
        "{error}"
    );
    assert!(error.contains("exec = [\"/opt/tool\"]"), "{error}");
    // By pattern, too.
    assert!(refused("[[program]]\npath = \"/opt/*/tool\"\n").contains("does not allow"));
    let error =
        refused("[[program]]\npath = \"/usr/bin/g*\"\n[[program]]\npath = \"/usr/bin/git\"\n");
    assert!(
        error.contains("sections before it") && error.contains("ci.toml:9:8"),
        "{error}"
    );
    // What a program may not execute, it does not enter.
    let nested = "[[program]]\npath = \"/usr/bin/git\"\ninherit = false\nfiles.exec = [\"/usr/bin/git\"]\n\
                  [[program.program]]\npath = \"/usr/bin/ssh\"\n";
    assert!(refused(nested).contains("never entered"));
}

#[test]
fn two_sections_about_one_path_are_refused_with_both_places() {
    let error =
        refused("[[program]]\npath = \"/usr/bin/git\"\n[[program]]\npath = \"/usr/{bin}/git\"\n");
    assert!(
        error.contains("ci.toml:9:8") && error.contains("ci.toml:7:8"),
        "{error}"
    );
}

#[test]
fn a_program_that_can_be_written_inside_is_refused_if_it_would_give_rights() {
    let gives = "version = 1\n[files]\nexec = [\"/usr/bin/*\"]\nwrite = [\"/usr/bin/g*\"]\n\
                 [[program]]\npath = \"/usr/bin/git\"\nfiles.read = [\"/key\"]\n";
    let refused_whole = |text: &str| {
        let effective = read(text).unwrap();
        compile(&effective, &variables(), &no_links)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let error = refused_whole(gives);
    assert!(
        error.contains("who writes the program") && error.contains("ci.toml:6:8"),
        "{error}"
    );
    assert!(
        refused_whole(&gives.replace("/usr/bin/git", "/usr/bin/gi[s-u]")).contains("who writes")
    );
    let denied = gives.replace("write = [", "deny = [\"/usr/bin/g[!c]*\"]\nwrite = [");
    assert!(refused_whole(&denied).contains("never entered"));
    let elsewhere = "[[program]]\npath = \"/usr/bin/tar\"\nfiles.write = [\"/usr/bin/**\"]\n\
                     [[program]]\npath = \"/usr/bin/git\"\nfiles.read = [\"/key\"]\n";
    assert!(refused(elsewhere).contains("`/usr/bin/tar` may write it"));
    // A program that only it can write has nothing more to give.
    compiled("[[program]]\npath = \"/usr/bin/git\"\nfiles.write = [\"/usr/bin/g*\"]\n");
    // What can do less than who writes it is no gain.
    let narrower = "version = 1\n[files]\nwrite = [\"/build/**\"]\nexec = [\"/build/**\"]\nread = [\"/x\"]\n\
                    [[program]]\npath = \"/build/test\"\ninherit = false\nfiles.exec = [\"/build/test\"]\n";
    compile(&read(narrower).unwrap(), &variables(), &no_links).unwrap();
}

#[test]
fn more_programs_than_have_a_number_are_refused_with_the_count() {
    let sections = |count: usize| -> String {
        (0..count)
            .map(|number| format!("[[program]]\npath = \"/usr/bin/p{number:03}\"\n"))
            .collect()
    };
    let (policy, _) = compiled(&sections(31));
    assert_eq!(enters(&policy, "/usr/bin/p030"), 31);
    let error = refused(&sections(32));
    assert!(
        error.contains("has 32 [[program]] sections, the most is 31"),
        "{error}"
    );
    assert!(refused(&sections(400)).contains("has 400"));
}

#[test]
fn an_explanation_is_that_of_the_program_it_is_asked_in() {
    let (_, explainer) = compiled(&format!(
        "{GIT}[[program]]\npath = \"/usr/bin/tool\"\ninherit = false\n"
    ));
    let path = b"/var/cache/git/x";
    assert!(!explainer.explain_in(0, path, Right::Write).allowed);
    let inside = explainer.explain_in(1, path, Right::Write);
    assert!(inside.allowed);
    assert_eq!(inside.program.as_deref(), Some("/usr/bin/git"));
    assert!(inside.rule.unwrap().origin.starts_with("ci.toml:8:"));
    let denied = explainer.explain_in(1, b"/srv/secret/x", Right::Read);
    assert_eq!(denied.rule.unwrap().text, "/srv/secret/**");
    let enters = explainer.explain_in(0, b"/usr/bin/git", Right::Exec).enters;
    assert_eq!(enters.as_deref(), Some("/usr/bin/git"));
    // A flag adds to what is around, which this program does not have.
    let flag = |program| {
        explainer
            .explain_in(program, b"/x", Right::Read)
            .suggestion
            .unwrap()
            .flag
    };
    assert!(flag(1).is_some() && flag(2).is_none());
}

#[test]
fn profile_test_asks_inside_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    let nested = "[[program.program]]\npath = \"/usr/bin/ssh\"\nfiles.read = [\"/key\"]\n";
    fs::write(&path, around(&format!("{GIT}{nested}"))).unwrap();
    let ask = |programs: &[&str], path_asked: &str, right| {
        let request = Request {
            profiles: vec![path.clone().into()],
            variables: variables(),
            ..Request::default()
        };
        let question = Question {
            programs: programs.iter().map(Into::into).collect(),
            path: Some(path_asked.into()),
            rights: vec![right],
        };
        let mut out = Vec::new();
        let allowed = test(request, &question, folder.path(), false, &mut out);
        (allowed, String::from_utf8(out).unwrap())
    };
    let (allowed, text) = ask(&[], "/usr/bin/git", Right::Exec);
    assert!(
        allowed.unwrap() && text.contains("enters program `/usr/bin/git`"),
        "{text}"
    );
    let (allowed, text) = ask(&["/usr/bin/git"], "/key", Right::Read);
    assert!(
        !allowed.unwrap() && text.contains("in program `/usr/bin/git`"),
        "{text}"
    );
    assert!(text.contains("in [files] of the [[program]]"), "{text}");
    let (allowed, text) = ask(&["/usr/bin/git", "/usr/bin/ssh"], "/key", Right::Read);
    assert!(
        allowed.unwrap() && text.contains("in program `/usr/bin/ssh`"),
        "{text}"
    );
    let (error, _) = ask(&["/usr/bin/ssh"], "/key", Right::Read);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("enters no [[program]]") && error.contains("/usr/bin/git"),
        "{error}"
    );
}

#[test]
fn programs_survive_being_shown_written_and_read() {
    let text = around(
        "[kernel]\nallow = [\"userns\"]\n[[program]]\npath = \"/usr/bin/{git,gitk}\"\nbecause = \"fetches\"\nfiles.read = [{ path = \"/key\", expected = true }]\n\
         kernel.allow = [\"io-uring\"]\n[[program.program]]\npath = \"/usr/bin/ssh\"\ninherit = false\nnetwork.mode = \"off\"\n\
         [[program]]\npath = \"/usr/bin/t*\"\nfiles.mode = \"off\"\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    fs::write(&path, &text).unwrap();
    let effective = load(&[path.clone().into()], CommandLine::default()).unwrap();
    let document = effective.to_document();
    let toml = toml::to_string(&document).unwrap();
    let request = Request {
        profiles: vec![path.into()],
        variables: variables(),
        ..Request::default()
    };
    let mut shown = Vec::new();
    show(request.clone(), false, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    let (before, _) = compile(&effective, &variables(), &no_links).unwrap();
    for again in [&toml, &shown] {
        let effective = read(again).unwrap_or_else(|error| panic!("{error}\n{again}"));
        let (after, _) = compile(&effective, &variables(), &no_links).unwrap();
        assert_eq!(before.files.automaton, after.files.automaton, "{again}");
        assert_eq!(before.kernel, after.kernel);
        assert_eq!(before.programs.len(), after.programs.len());
        for (one, other) in before.programs.iter().zip(&after.programs) {
            assert_eq!(one.files.automaton, other.files.automaton, "{again}");
            assert_eq!(one.files.mode, other.files.mode);
            assert_eq!((&one.network, one.kernel), (&other.network, other.kernel));
        }
    }
    assert!(
        shown.contains("# ") && shown.contains("p.toml:9:8"),
        "{shown}"
    );
    let mut json = Vec::new();
    show(request, true, &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["program"][0]["program"][0]["path"], "/usr/bin/ssh");
    assert_eq!(json["kernel"]["allow"][0]["name"], "userns");
}

#[test]
fn the_schema_knows_programs_and_what_cannot_stand_in_them() {
    let mut out = Vec::new();
    schema(&mut out).unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = |text: &str| validator.is_valid(&toml::from_str(text).unwrap());
    assert!(valid(&around(GIT)));
    assert!(valid(&around(
        "[process]\nsyscalls = [\"@system-service\", \"mseal\"]\nallow-privilege-gain = true\n[protection]\nfiles = \"off\"\n"
    )));
    assert!(valid(&around("[process]\nsyscalls = \"default\"\n")));
    for wrong in [
        "[[program]]\nbecause = \"no path\"\n",
        "[[program]]\npath = \"/x\"\nlimits.pids = 3\n",
        "[[program]]\npath = \"/x\"\n[[program.program]]\nflies.read = []\n",
        "[kernel]\nallow = [\"usrns\"]\n",
        "[process]\nsyscalls = \"all\"\n",
        "[process]\nsyscalls = []\n",
        "[process]\nsyscalls = [\"@systm-service\"]\n",
        "[protection]\nexec = \"off\"\n",
    ] {
        assert!(!valid(&around(wrong)), "{wrong}");
    }
}
