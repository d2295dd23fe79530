//! What the fallback engine keeps closed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ringfence::confine::{Engine, Probe};
use ringfence::policy::{Degradation, Demand, Grade, Protection};
use ringfence_abi::rights::{EXEC, READ, WRITE};

use crate::kit::{copy, fenced, place, policy, request, run, system};
use crate::rules::{deny, drawn, file, tree};

#[test]
fn reads_what_is_listed_and_nothing_else() {
    let place = place();
    fs::write(place.path().join("open"), "o").unwrap();
    fs::write(place.path().join("closed"), "c").unwrap();
    let p = place.path().display();
    let rules = || {
        let mut rules = system();
        rules.push(file(place.path().join("open"), READ));
        rules
    };
    assert_eq!(fenced(&format!("cat {p}/open"), &rules()), 0);
    assert_ne!(fenced(&format!("cat {p}/closed"), &rules()), 0);
    assert_ne!(fenced(&format!("ls {p}"), &rules()), 0);
}

#[test]
fn writes_below_what_is_listed_and_nowhere_else() {
    let place = place();
    let other = crate::kit::place();
    let (p, o) = (place.path().display(), other.path().display());
    let rules = || {
        let mut rules = system();
        rules.push(tree(place.path(), READ | WRITE));
        rules.push(tree(other.path(), READ));
        rules
    };
    let work = format!(
        "mkdir {p}/d && echo x > {p}/d/f && mv {p}/d/f {p}/g && chmod 600 {p}/g && rm -r {p}/d"
    );
    assert_eq!(fenced(&work, &rules()), 0);
    fs::write(other.path().join("f"), "f").unwrap();
    assert_ne!(fenced(&format!("echo x > {o}/new"), &rules()), 0);
    assert_ne!(fenced(&format!("echo x >> {o}/f"), &rules()), 0);
    assert_ne!(fenced(&format!("chmod 600 {o}/f"), &rules()), 0);
    assert_ne!(fenced(&format!("touch -d 2001-01-01 {o}/f"), &rules()), 0);
    assert_ne!(fenced(&format!("mv {o}/f {p}/f"), &rules()), 0);
    assert_ne!(fenced(&format!("rm {o}/f"), &rules()), 0);
    assert_eq!(fs::read_to_string(other.path().join("f")).unwrap(), "f");
}

#[test]
fn names_by_a_pattern_are_made_where_nobody_else_sees_them() {
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let p = place.path().display();
    fs::write(place.path().join("closed"), "c").unwrap();
    fs::create_dir(place.path().join("open")).unwrap();
    let rules = || {
        let mut rules = system();
        rules.push(drawn(format!("{p}-"), READ | WRITE));
        rules.push(tree(place.path().join("open"), READ | WRITE));
        rules
    };
    let makes = format!(
        "echo x > {p}-a && mv {p}-a {p}-b && cat {p}-b && mkdir {p}-d && echo x > {p}-d/f && echo x > {p}/open/f"
    );
    assert_eq!(fenced(&makes, &rules()), 0);
    assert!(!Path::new(&format!("{p}-b")).exists());
    assert!(place.path().join("open/f").exists());
    assert_ne!(fenced(&format!("cat {p}/closed"), &rules()), 0);
    assert_ne!(fenced(&format!("echo x > {p}/new"), &rules()), 0);
    assert_ne!(
        fenced(&format!("cp /usr/bin/true {p}-t && {p}-t"), &rules()),
        0
    );
}

#[test]
fn a_denied_place_inside_an_allowed_one_stays_closed() {
    let place = place();
    fs::create_dir(place.path().join("secret")).unwrap();
    fs::write(place.path().join("secret/key"), "k").unwrap();
    fs::write(place.path().join("plain"), "p").unwrap();
    let p = place.path().display();
    let rules = || {
        let mut rules = system();
        rules.push(tree(place.path(), READ));
        rules.push(deny(place.path().join("secret")));
        rules
    };
    assert_eq!(fenced(&format!("cat {p}/plain"), &rules()), 0);
    assert_ne!(fenced(&format!("cat {p}/secret/key"), &rules()), 0);
    // What is around it can be listed, what is in it not.
    let script = format!("test \"$(echo $(ls {p}))\" = 'plain secret'");
    assert_eq!(fenced(&script, &rules()), 0);
    assert_ne!(fenced(&format!("ls {p}/secret"), &rules()), 0);
    let probe = Probe::new().unwrap();
    let standings =
        ringfence::confine::standings(&policy(&rules()), Engine::Fallback, &probe, None).unwrap();
    let reading = standings
        .iter()
        .find(|one| one.protection == Protection::FilesRead)
        .unwrap();
    assert_eq!(reading.grade, Grade::Stricter);
    assert!(
        reading.why().contains("does not exist yet"),
        "{}",
        reading.why()
    );
}

#[test]
fn executes_what_is_listed_by_no_way_anything_else() {
    let place = place();
    let p = place.path().display();
    copy("/usr/bin/true", &place.path().join("listed"));
    copy("/usr/bin/true", &place.path().join("other"));
    fs::write(place.path().join("script"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(
        place.path().join("script"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::create_dir(place.path().join("w")).unwrap();
    let rules = || {
        let mut rules = system();
        rules.push(tree(place.path(), READ));
        rules.push(file(place.path().join("listed"), READ | EXEC));
        rules.push(tree(place.path().join("w"), READ | WRITE));
        rules
    };
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap();
    assert_eq!(fenced(&format!("{p}/listed"), &rules()), 0);
    assert_eq!(fenced(&format!("{loader} {p}/listed"), &rules()), 0);
    assert_eq!(fenced(&format!("{p}/other"), &rules()), 126);
    assert_eq!(fenced(&format!("{p}/script"), &rules()), 126);
    assert_ne!(fenced(&format!("{loader} {p}/other"), &rules()), 0);
    assert_ne!(
        fenced(&format!("cp /usr/bin/true {p}/w/x && {p}/w/x"), &rules()),
        0
    );
    assert_ne!(
        fenced(
            &format!("cp /usr/bin/true {p}/w/y && {loader} {p}/w/y"),
            &rules()
        ),
        0
    );
}

#[test]
fn a_file_in_memory_cannot_be_executed() {
    let attempt = "import os,sys\n\
                   try: fd = os.memfd_create('x', 0)\n\
                   except OSError: sys.exit(13)\n\
                   os.write(fd, open('/usr/bin/true','rb').read())\n\
                   os.execve(fd, ['x'], {})\n";
    let python = "/usr/bin/python3";
    if !Path::new(python).exists() {
        eprintln!("skipped: a_file_in_memory_cannot_be_executed needs {python}");
        return;
    }
    let exit = run(
        &request(python, &["-c", attempt]),
        &policy(&system()),
        Engine::Fallback,
    )
    .unwrap();
    assert_eq!(exit.code, 13);
    // The attempt itself works.
    let exit = run(
        &request(python, &["-c", attempt]),
        &policy(&[]),
        Engine::BpfLsm,
    )
    .unwrap();
    assert_eq!(exit.code, 0);
}

#[test]
fn every_protection_holds_on_a_machine_with_landlock_and_namespaces() {
    let probe = Probe::new().unwrap();
    let mut policy = policy(&system());
    policy.degradation = Degradation {
        demands: BTreeMap::from([(Protection::Limits, Demand::BestEffort)]),
    };
    let standings = ringfence::confine::standings(&policy, Engine::Fallback, &probe, None).unwrap();
    assert_eq!(standings.len(), Protection::ALL.len());
    for standing in &standings {
        assert_eq!(
            standing.reasons.is_empty(),
            standing.grade == Grade::Exact,
            "{standing:?}"
        );
    }
    let refused = policy.degradation.refused(&standings);
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn tasks_outside_are_not_signalled() {
    let mut outside = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let exit = fenced(&format!("kill -KILL {}", outside.id()), &system());
    assert_ne!(exit, 0);
    assert!(outside.try_wait().unwrap().is_none());
    outside.kill().unwrap();
    outside.wait().unwrap();
}
