//! Second names: whatever a file is called by, the rules of the path that the kernel resolved hold, and no rename or
//! link gives a file rights that it did not have.

use std::path::Path;

use crate::files::tree;
use crate::kit::{DENIED, Fence, Folder, Need, OK, Suite, Verdict};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let root = &[Need::Root];
    suite.test(
        "names::a_link_to_a_denied_file_opens_nothing",
        root,
        a_link_to_a_denied_file_opens_nothing,
    );
    suite.test(
        "names::a_way_through_proc_leads_to_the_same_rules",
        root,
        a_way_through_proc_leads_to_the_same_rules,
    );
    suite.test(
        "names::a_handle_is_not_reopened_for_more",
        root,
        a_handle_is_not_reopened_for_more,
    );
    suite.test(
        "names::a_hard_link_gives_no_rights",
        root,
        a_hard_link_gives_no_rights,
    );
    suite.test(
        "names::a_rename_gives_no_rights",
        root,
        a_rename_gives_no_rights,
    );
    suite.test(
        "names::names_of_one_folder_are_told_apart",
        &[Need::Root, Need::BpfLsm],
        names_of_one_folder_are_told_apart,
    );
    suite.test(
        "names::a_folder_is_renamed_within_its_zone_only",
        root,
        a_folder_is_renamed_within_its_zone_only,
    );
    suite.test(
        "names::an_exchange_is_judged_in_both_directions",
        root,
        an_exchange_is_judged_in_both_directions,
    );
    suite.test(
        "names::a_file_without_a_name_gets_one_in_the_listed_paths_only",
        root,
        a_file_without_a_name_gets_one_in_the_listed_paths_only,
    );
    // Flags are set through a handle for reading, and only a hook on ioctl can tell that from reading.
    suite.test(
        "names::flags_are_set_in_the_listed_paths_only",
        &[Need::Root, Need::BpfLsm],
        flags_are_set_in_the_listed_paths_only,
    );
}

fn a_link_to_a_denied_file_opens_nothing() -> Verdict {
    tree()?.tries(&[
        ("symlink ../closed/file write/to-closed", OK),
        ("read write/to-closed", DENIED),
        ("symlink ../mixed/secret write/to-secret", OK),
        ("read write/to-secret/file", DENIED),
        ("symlink ../read/file write/to-read", OK),
        ("read write/to-read", OK),
        ("write write/to-read", DENIED),
        ("read write/../closed/file", DENIED),
    ])
}

fn a_way_through_proc_leads_to_the_same_rules() -> Verdict {
    tree()?.tries(&[
        ("read /proc/self/cwd/read/file", OK),
        ("read /proc/self/cwd/closed/file", DENIED),
        ("write /proc/self/cwd/read/file", DENIED),
        ("read /proc/self/root/etc/passwd", OK),
        ("read /proc/self/root/etc/shadow", DENIED),
    ])
}

fn a_handle_is_not_reopened_for_more() -> Verdict {
    tree()?.tries(&[
        ("look-then-read read/file", OK),
        ("look-then-read closed/file", DENIED),
        ("read-then-write write/file", OK),
        ("read-then-write read/file", DENIED),
    ])
}

fn a_hard_link_gives_no_rights() -> Verdict {
    tree()?.tries(&[
        ("link write/file write/second", OK),
        ("link read/file write/gained", DENIED),
        ("link closed/file write/gained", DENIED),
        ("link mixed/secret/file mixed/gained", DENIED),
        ("link write/file tools/gained", DENIED),
        ("link write/file read/new", DENIED),
    ])
}

fn a_rename_gives_no_rights() -> Verdict {
    tree()?.tries(&[
        ("rename write/file write/renamed", OK),
        ("rename read/file write/gained", DENIED),
        ("rename closed/file write/gained", DENIED),
        ("rename mixed/secret/file mixed/gained", DENIED),
        ("rename write/other tools/gained", DENIED),
        ("rename write/other read/other", DENIED),
        ("rename write/other closed/new", DENIED),
    ])
}

/// In the root's mount and in another one, near its root and deep below it, with names that lie in their dentry and with longer ones.
fn names_of_one_folder_are_told_apart() -> Verdict {
    for (above, below) in [("/tmp", 0), ("/tmp", 12), ("/var/tmp", 0), ("/var/tmp", 12)] {
        let folder = "deep/".repeat(below) + "write";
        let rules = format!(
            r#"
            read = ["@/{folder}/**"]
            write = ["@/{folder}/**"]
            exec = ["@/{folder}/*.run"]
            deny = ["@/{folder}/*-kept/closed"]
            "#
        );
        let fence = Fence::around(Folder::below(Path::new(above))?, &rules)?;
        for name in ["a", "c.run", "e", "f.run", "g", "x-kept/inner", "z/inner"] {
            fence
                .folder()
                .file(&format!("{folder}/{name}"), "content")?;
        }
        let long = "long".repeat(16);
        let claims = [
            ("rename", "a", "b", OK),
            ("rename", "b", "b.run", DENIED),
            ("rename", "c.run", "d.run", OK),
            ("rename", "d.run", "d", OK),
            ("rename", "d", &long, OK),
            ("rename", &long, "d.run", DENIED),
            ("rename", &long, "d", OK),
            ("exchange", "e", "g", OK),
            ("exchange", "e", "f.run", DENIED),
            ("exchange", "f.run", "e", DENIED),
            // What lies below is denied by the one name and not by the other.
            ("rename", "x-kept", "x", DENIED),
            ("exchange", "z", "x-kept", DENIED),
            ("rename", "x-kept", "y-kept", OK),
            ("rename", "z", "y", OK),
        ]
        .map(|(act, from, to, end)| (format!("{act} {folder}/{from} {folder}/{to}"), end));
        fence.tries(&claims)?;
    }
    Ok(())
}

fn a_folder_is_renamed_within_its_zone_only() -> Verdict {
    tree()?.tries(&[
        ("rename write/folder write/moved", OK),
        ("read write/moved/inner", OK),
        ("rename write/moved tools/moved", DENIED),
        ("rename write/moved mixed/secret/moved", DENIED),
        ("rename tools/folder write/gained", DENIED),
        // The folder would take a denied one along, and its new path is not denied.
        ("rename mixed write/mixed", DENIED),
    ])
}

fn an_exchange_is_judged_in_both_directions() -> Verdict {
    tree()?.tries(&[
        ("exchange write/file write/other", OK),
        ("exchange write/file read/file", DENIED),
        ("exchange read/file write/file", DENIED),
        ("exchange write/file closed/file", DENIED),
        ("exchange write/file tools/file", DENIED),
        ("exchange tools/file write/file", DENIED),
    ])
}

fn a_file_without_a_name_gets_one_in_the_listed_paths_only() -> Verdict {
    tree()?.tries(&[
        ("unnamed write write/named", OK),
        ("read write/named", OK),
        ("unnamed write read/named", DENIED),
        ("unnamed write tools/named", DENIED),
        ("unnamed read write/named-too", DENIED),
    ])
}

fn flags_are_set_in_the_listed_paths_only() -> Verdict {
    tree()?.tries(&[("flags write/file", OK), ("flags read/file", DENIED)])
}
