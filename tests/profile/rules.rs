//! What rules mean.

use super::*;

#[test]
fn deny_beats_allow_in_any_order_and_from_any_profile() {
    let policy = policy(&files(
        "deny = [\"/a/secret/**\"]\nread = [\"/a/**\", \"/a/secret/x\"]",
    ));
    assert_eq!(rights(&policy, "/a/b"), READ);
    assert_eq!(rights(&policy, "/a/secret"), 0);
    assert_eq!(rights(&policy, "/a/secret/x"), 0);
    assert_eq!(rights(&policy, "/a/secrets"), READ);
}

#[test]
fn rights_are_independent() {
    let policy = policy(&files(
        "read = [\"/r\"]\nwrite = [\"/w\"]\nexec = [\"/{e,r}\"]",
    ));
    assert_eq!(rights(&policy, "/r"), READ | EXEC);
    assert_eq!(rights(&policy, "/w"), WRITE);
    assert_eq!(rights(&policy, "/e"), EXEC);
}

#[test]
fn a_subtree_holds_its_directory_and_a_slash_alone_is_the_root_directory() {
    let tree = policy(&files("read = [\"/a/**\", \"/b/\", \"/\"]"));
    for path in ["/a", "/a/x/y", "/b", "/b/x", "/"] {
        assert_eq!(rights(&tree, path), READ, "{path}");
    }
    for path in ["/c", "/ab"] {
        assert_eq!(rights(&tree, path), 0, "{path}");
    }
    assert_eq!(rights(&policy(&files("read = [\"/**\"]")), "/c"), READ);
}

#[test]
fn values_of_variables_are_literal() {
    let variables = Variables::new()
        .with("CWD", OsStr::from_bytes(b"/w*[a]{b,c}\xff"))
        .with("ROOT", "/");
    let text = "version = 1\n[variables]\nMINE = \"${CWD}/*\"\n[files]\nread = [\"${CWD}/**\"]\nwrite = [\"${MINE}\"]\nexec = [\"${ROOT}/x\", \"${ROOT}usr\"]\n";
    let policy = compile(&read(text).unwrap(), &variables, &no_links)
        .unwrap()
        .0;
    let of = |path: &[u8]| policy.files.automaton.rights(path);
    assert_eq!(of(b"/w*[a]{b,c}\xff/x"), READ);
    assert_eq!(of(b"/w*[a]{b,c}\xff/*"), READ | WRITE);
    assert_eq!(of(b"/wx[a]{b,c}\xff/x"), 0);
    assert_eq!((of(b"/x"), of(b"/usr")), (EXEC, EXEC));
}

#[test]
fn the_root_as_working_directory_means_everything_below() {
    let variables = Variables::new().with("CWD", "/");
    let text = files("read = [\"${CWD}/**\"]\ndeny = [\"${CWD}/x/\"]");
    let policy = compile(&read(&text).unwrap(), &variables, &no_links)
        .unwrap()
        .0;
    assert_eq!(rights(&policy, "/y"), READ);
    assert_eq!(rights(&policy, "/x/y"), 0);
}

#[test]
fn bytes_that_are_not_utf8_can_be_written_in_a_profile() {
    let policy = policy(&files(r"read = ['/caf\xe9/*']"));
    assert_eq!(policy.files.automaton.rights(b"/caf\xe9/\xff"), READ);
    assert_eq!(policy.files.automaton.rights(b"/caf\xe8/\xff"), 0);
}
