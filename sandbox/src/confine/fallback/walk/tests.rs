use super::super::rules::{self, automaton, deny, file, tree};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

fn found(rules: &[rules::Rule]) -> Found {
    let user = nix::unistd::geteuid().as_raw();
    walk(
        &automaton(rules),
        true,
        Own::default(),
        Some(user),
        &[],
        Path::new("/"),
    )
    .unwrap()
}

fn granted(found: &Found, path: &Path) -> Option<u8> {
    let mut grants = found.grants.iter().filter(|grant| grant.path == path);
    grants.next().map(|grant| grant.rights)
}

#[test]
fn a_whole_tree_is_one_grant_without_looking_into_it() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("inner")).unwrap();
    let found = found(&[tree(place.path(), READ | WRITE)]);
    assert_eq!(found.grants.len(), 1);
    assert_eq!(granted(&found, place.path()), Some(READ | WRITE | LIST));
    assert!(found.gaps.later.is_empty());
}

#[test]
fn what_is_added_inside_a_tree_keeps_the_tree_whole() {
    let place = tempfile::tempdir().unwrap();
    let tool = place.path().join("tool");
    fs::write(&tool, "").unwrap();
    let found = found(&[tree(place.path(), READ), file(&tool, READ | EXEC)]);
    assert_eq!(granted(&found, place.path()), Some(READ | LIST));
    assert_eq!(granted(&found, &tool), Some(EXEC));
    assert!(found.gaps.later.is_empty(), "{:?}", found.gaps);
}

#[test]
fn where_the_command_makes_what_it_executes_all_is_executable_and_nothing_is_mounted() {
    let place = tempfile::tempdir().unwrap();
    let rules = |own| {
        [
            tree(place.path(), own),
            tree(place.path().join("later"), own | EXEC),
        ]
    };
    let makes = found(&rules(READ | WRITE));
    assert_eq!(
        granted(&makes, place.path()),
        Some(READ | WRITE | EXEC | LIST)
    );
    assert_eq!(makes.grants.len(), 1);
    assert!(makes.gaps.later.is_empty(), "{:?}", makes.gaps);
    assert_eq!(makes.gaps.programs.as_deref(), Some(place.path()));
    // It cannot make them, or not read what it would make them of.
    for own in [READ, WRITE] {
        let found = found(&rules(own));
        assert_eq!(granted(&found, place.path()).unwrap_or(0) & EXEC, 0);
        assert_eq!(found.gaps.programs, None);
    }
    // Modes do not let it, or the directory is somebody else's.
    let mode = |mode| fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    let found = found(&rules(READ | WRITE));
    mode(0o700);
    assert_eq!(granted(&found, place.path()), Some(READ | WRITE | LIST));
    let user = nix::unistd::geteuid().as_raw();
    let automaton = automaton(&rules(READ | WRITE));
    let found = |maker, mounts: &[Mount]| {
        let own = Own::default();
        walk(&automaton, true, own, maker, mounts, Path::new("/")).unwrap()
    };
    // Nor where nobody is known whose it could be.
    for maker in [Some(user + 1), None] {
        let found = found(maker, &[]);
        assert_eq!(granted(&found, place.path()), Some(READ | WRITE | LIST));
    }
    // Something is mounted in it, and not only on it.
    let mount = |point| Mount {
        root: "/".into(),
        point,
        kind: "tmpfs".into(),
    };
    let whole = Some(READ | WRITE | EXEC | LIST);
    let on = found(Some(user), &[mount(place.path().into())]);
    assert_eq!(granted(&on, place.path()), whole);
    let inside = found(Some(user), &[mount(place.path().join("later"))]);
    assert_eq!(granted(&inside, place.path()), Some(READ | WRITE | LIST));
}

#[test]
fn what_is_denied_inside_a_tree_is_left_out_and_hidden() {
    let place = tempfile::tempdir().unwrap();
    for name in ["open", "closed"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let closed = place.path().join("closed");
    let found = found(&[tree(place.path(), READ), deny(&closed)]);
    assert_eq!(granted(&found, place.path()), Some(LIST));
    assert_eq!(
        granted(&found, &place.path().join("open")),
        Some(READ | LIST)
    );
    assert_eq!(granted(&found, &closed), None);
    assert_eq!(
        found.gaps.later.get(&READ).map(PathBuf::as_path),
        Some(place.path())
    );
    let plan = found.mounts.unwrap().to_string();
    assert!(
        plan.contains(&format!("{} hidden", closed.display())),
        "{plan}"
    );
}

#[test]
fn a_directory_with_a_partly_open_one_inside_is_not_listed() {
    let place = tempfile::tempdir().unwrap();
    let inner = place.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("open"), "").unwrap();
    let found = found(&[file(place.path(), READ), file(inner.join("open"), READ)]);
    assert_eq!(granted(&found, place.path()), None);
    assert_eq!(granted(&found, &inner.join("open")), Some(READ));
    assert_eq!(found.gaps.unlisted.as_deref(), Some(place.path()));
}

#[test]
fn a_link_is_not_followed() {
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", place.path().join("link")).unwrap();
    let found = found(&[tree(place.path().join("link"), READ)]);
    assert!(found.grants.is_empty(), "{:?}", found.grants);
}

#[test]
fn a_listed_file_that_is_not_there_is_a_gap() {
    let place = tempfile::tempdir().unwrap();
    let found = found(&[file(place.path().join("later"), WRITE)]);
    assert!(found.grants.is_empty());
    assert_eq!(
        found.gaps.later.get(&WRITE).map(PathBuf::as_path),
        Some(place.path())
    );
}

#[test]
fn a_directory_is_listed_although_something_named_in_it_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    for name in ["closed", "seen"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let rules = [
        file(place.path(), READ),
        tree(place.path().join("seen"), READ),
        tree(place.path().join("later"), READ),
    ];
    let found = found(&rules);
    assert_eq!(granted(&found, place.path()), Some(LIST));
    assert!(found.gaps.unlisted.is_none(), "{:?}", found.gaps);
    assert_eq!(found.hidden, [place.path().join("closed")]);
    // What is not there cannot be granted, and is said.
    assert_eq!(
        found.gaps.later.get(&READ).map(PathBuf::as_path),
        Some(place.path())
    );
}

#[test]
fn a_directory_with_a_partly_open_one_is_not_listed_although_something_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    let inner = place.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("open"), "").unwrap();
    let rules = [
        file(place.path(), READ),
        file(inner.join("open"), READ),
        tree(place.path().join("later"), READ),
    ];
    let found = found(&rules);
    assert_eq!(granted(&found, place.path()), None);
    assert_eq!(found.gaps.unlisted.as_deref(), Some(place.path()));
}

#[test]
fn of_a_proc_of_the_fences_own_only_what_may_be_read_is_in_sight() {
    let rules = ["/proc", "/proc/cpuinfo", "/proc/sys/kernel/ostype"].map(|path| file(path, READ));
    let own = Own {
        proc: true,
        ..Own::default()
    };
    let found = walk(&automaton(&rules), true, own, None, &[], Path::new("/")).unwrap();
    let view = found.view.unwrap();
    let closed = |path: &str| {
        let mut closed = view.closed.iter();
        closed.any(|(one, _)| one.as_bytes() == path.as_bytes())
    };
    for path in ["/proc/version", "/proc/meminfo", "/proc/tty"] {
        assert!(closed(path), "{path}");
    }
    assert!(!closed("/proc/cpuinfo") && !closed("/proc/self"));
    let [part] = &view.chosen[..] else {
        panic!("{:?}", view.chosen);
    };
    assert_eq!(part.directory.as_c_str(), c"/proc/sys");
    let seen: Vec<_> = part.entries.iter().map(|entry| &*entry.below).collect();
    assert_eq!(seen, [c"sys/kernel", c"sys/kernel/ostype"]);
    assert!(found.grants.is_empty(), "{:?}", found.grants);
}

#[test]
fn what_may_be_read_of_proc_is_found_without_looking_at_its_tasks() {
    let cpus = || file("/proc/cpuinfo", READ);
    // Too many to be names.
    let tasks = (0..600).map(|number| file(format!("/proc/{number}"), READ));
    let many = found(&tasks.chain([cpus()]).collect::<Vec<_>>());
    assert_eq!(granted(&many, Path::new("/proc/cpuinfo")), Some(READ));
    assert_eq!(granted(&many, Path::new("/proc/1")), None);
    assert!(many.gaps.processes);
    let few = found(&[file("/proc/1", READ), cpus()]);
    assert_eq!(granted(&few, Path::new("/proc/cpuinfo")), Some(READ));
    assert!(!few.gaps.processes);
}
