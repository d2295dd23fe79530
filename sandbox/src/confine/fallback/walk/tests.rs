use super::super::rules::{self, automaton, deny, drawn, file, tree};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::confine::fallback::part::{Entry, EntryKind};

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

/// What is found where directories may be the fence's own.
fn found_drawing(rules: &[rules::Rule], stay: &Path, maker: Option<u32>) -> Found {
    let own = Own {
        directories: true,
        ..Own::default()
    };
    walk(&automaton(rules), true, own, maker, &[], stay).unwrap()
}

/// A directory below one where names are drawn, and what begins with its name and goes on.
fn workspace() -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let names = format!("{}-", place.path().display());
    (place, names)
}

fn kept(found: &Found) -> Vec<(String, bool)> {
    let [own] = &found.own[..] else {
        panic!("{:?}", found.own);
    };
    assert_eq!(own.place.path(), Path::new("/tmp"));
    let in_parts = own.parts.iter().flat_map(|part| &part.entries);
    let all = own.kept.iter().chain(in_parts);
    let path = |entry: &Entry| entry.path.to_string_lossy().into_owned();
    all.map(|entry| (path(entry), entry.kind == EntryKind::Way))
        .collect()
}

#[test]
fn where_names_are_drawn_the_directory_is_the_fences_own_and_keeps_what_is_allowed() {
    let (place, names) = workspace();
    for name in ["in/d", "out", "closed"] {
        fs::create_dir_all(place.path().join(name)).unwrap();
    }
    fs::write(place.path().join("given"), "").unwrap();
    let at = |name: &str| place.path().join(name);
    let rules = || {
        vec![
            drawn(&names, READ | WRITE),
            tree(at("in/d"), READ),
            tree(at("out"), READ | WRITE),
            file(at("given"), READ),
        ]
    };
    let found = found_drawing(&rules(), &at("closed"), None);
    let mut stays = kept(&found);
    stays.sort();
    let expected = [
        ("closed", true),
        ("given", false),
        ("in", true),
        ("in/d", false),
        ("out", false),
    ];
    let expected = expected.map(|(name, way)| (at(name).display().to_string(), way));
    assert_eq!(stays, expected);
    assert_eq!(
        found.own[0].parts[0].directory.as_bytes(),
        place.path().as_os_str().as_bytes()
    );
    assert_eq!(granted(&found, &at("out")), Some(READ | WRITE | LIST));
    assert!(!found.own[0].executable);
    assert!(found.gaps.later.is_empty(), "{:?}", found.gaps);
    assert_eq!(found.gaps.own, [Path::new("/tmp")]);
    let plan = found.mounts.unwrap().to_string();
    assert!(
        plan.contains(&format!("{} noexec", at("out").display())),
        "{plan}"
    );
    // As a whole it stays as a whole.
    let mut rules = rules();
    rules.push(tree(place.path(), READ | WRITE));
    let whole = found_drawing(&rules, &at("closed"), None);
    assert_eq!(kept(&whole), [(place.path().display().to_string(), false)]);
    // Without namespaces, or without a pattern, nothing is its own.
    let none = self::found(&[drawn(&names, READ | WRITE)]);
    assert!(none.own.is_empty());
    assert_eq!(
        none.gaps.later.get(&WRITE).map(PathBuf::as_path),
        Some(Path::new("/tmp"))
    );
    let spelled = found_drawing(&[tree(at("out"), READ | WRITE)], Path::new("/"), None);
    assert!(spelled.own.is_empty());
}

#[test]
fn where_something_would_have_more_rights_in_it_no_directory_is_the_fences_own() {
    let (place, names) = workspace();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("file"), "").unwrap();
    fs::create_dir_all(at("below/d")).unwrap();
    for pipe in ["pipe", "below/d/pipe"] {
        nix::unistd::mkfifo(&at(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let cases = [
        ("only written", vec![file(at("file"), WRITE)]),
        ("only written, with all below", vec![tree(at("d"), WRITE)]),
        ("a pipe that is only read", vec![file(at("pipe"), READ)]),
        ("one below", vec![tree(at("below"), READ)]),
        (
            "something denied that is not there",
            vec![tree(place.path(), READ | WRITE), deny(at("new/secret"))],
        ),
        ("all of it read", vec![tree("/tmp", READ)]),
        ("all of everything read", vec![tree("/", READ)]),
        ("all of it executed", vec![tree("/tmp", EXEC)]),
    ];
    for (what, rules) in cases {
        let plain = found(&rules);
        let drawing = [drawn(&names, READ | WRITE)].into_iter().chain(rules);
        let found = found_drawing(&drawing.collect::<Vec<_>>(), Path::new("/"), None);
        assert!(found.own.is_empty(), "{what}");
        assert!(found.gaps.own.is_empty(), "{what}");
        assert_eq!(found.grants.len(), plain.grants.len(), "{what}");
        assert_eq!(
            found.gaps.later.get(&WRITE).map(PathBuf::as_path),
            Some(Path::new("/tmp")),
            "{what}"
        );
    }
}

#[test]
fn what_is_drawn_is_executable_only_if_it_can_be_made_read_and_executed() {
    let (place, names) = workspace();
    let tool = place.path().join("tool");
    fs::write(&tool, "").unwrap();
    let all = READ | WRITE | EXEC;
    let found = |rules: &[rules::Rule], maker| {
        let found = found_drawing(rules, Path::new("/"), maker);
        let programs = found.gaps.programs.is_some();
        assert_eq!(found.own[0].executable, programs);
        assert_eq!(
            found.gaps.later.contains_key(&EXEC),
            !programs && rules.len() == 1
        );
        programs
    };
    assert!(found(&[drawn(&names, all)], Some(1)));
    // A copy would be another program.
    assert!(!found(&[drawn(&names, all)], None));
    // It is what is there that can be, not what is drawn.
    assert!(!found(
        &[drawn(&names, READ | WRITE), file(&tool, all)],
        Some(1)
    ));
}

#[test]
fn a_link_stays_that_leads_to_something_allowed() {
    let (place, names) = workspace();
    let (link, other) = (format!("{names}link"), format!("{names}other"));
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    std::os::unix::fs::symlink("/etc", &other).unwrap();
    let rules = [
        drawn(format!("{names}x"), READ | WRITE),
        tree(place.path(), READ),
    ];
    let found = found_drawing(&rules, Path::new("/"), None);
    fs::remove_file(&link).unwrap();
    fs::remove_file(&other).unwrap();
    let stays: Vec<_> = kept(&found).into_iter().map(|(path, _)| path).collect();
    assert_eq!(stays, [place.path().display().to_string(), link]);
    // In a directory of which a part stays, too.
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("in")).unwrap();
    fs::write(at("in/file"), "").unwrap();
    std::os::unix::fs::symlink("in/file", at("link")).unwrap();
    std::os::unix::fs::symlink("in", at("other")).unwrap();
    std::os::unix::fs::symlink("/etc", at("away")).unwrap();
    let rules = [
        drawn(format!("{names}x"), READ | WRITE),
        file(at("in/file"), READ),
    ];
    let found = found_drawing(&rules, Path::new("/"), None);
    let mut stays: Vec<_> = kept(&found).into_iter().map(|(path, _)| path).collect();
    stays.sort();
    let expected = ["in", "in/file", "link", "other"].map(|name| at(name).display().to_string());
    assert_eq!(stays, expected);
}

#[test]
fn what_is_spelled_out_and_would_be_lost_is_noted() {
    let (place, names) = workspace();
    let report = format!("{names}report");
    let rules = [
        drawn(format!("{names}x"), READ | WRITE),
        file(&report, READ | WRITE),
        file(format!("{names}given"), READ),
        tree(place.path(), READ | WRITE),
    ];
    let found = || found_drawing(&rules, Path::new("/"), None);
    assert_eq!(found().gaps.lost.as_deref(), Some(Path::new(&report)));
    fs::write(&report, "").unwrap();
    let there = found();
    fs::remove_file(&report).unwrap();
    assert_eq!(there.gaps.lost, None);
    assert!(kept(&there).contains(&(report, false)));
}

#[test]
fn shared_memory_is_empty_whatever_is_allowed_of_it() {
    let other = tempfile::Builder::new()
        .prefix("sem.")
        .tempfile_in("/dev/shm");
    let Ok(_other) = other else {
        return;
    };
    let found = found_drawing(
        &[drawn("/dev/shm/sem.", READ | WRITE)],
        Path::new("/"),
        None,
    );
    assert_eq!(found.own[0].place.path(), Path::new("/dev/shm"));
    assert_eq!(found.own[0].mounts(), 1);
    assert!(found.grants.is_empty(), "{:?}", found.grants);
}
