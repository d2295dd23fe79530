//! What may become code: listed programs and libraries, and nothing that was written, whichever way it is tried.

use crate::kit::{DENIED, Fence, Need, OK, OWN_RUN_ON_HOSTS, PYTHON, Suite, Verdict, script};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let root = &[Need::Root];
    suite.test(
        "exec::a_listed_program_is_executed",
        root,
        a_listed_program_is_executed,
    );
    suite.test(
        "exec::a_written_program_is_not_executed",
        root,
        a_written_program_is_not_executed,
    );
    suite.test(
        "exec::the_loader_does_not_execute_what_was_written",
        root,
        the_loader_does_not_execute_what_was_written,
    );
    suite.test(
        "exec::a_written_script_is_not_executed",
        root,
        a_written_script_is_not_executed,
    );
    suite.test("exec::memory_is_not_executed", root, memory_is_not_executed);
    suite.test(
        "exec::a_written_file_is_not_mapped_as_code",
        root,
        a_written_file_is_not_mapped_as_code,
    );
    suite.test(
        "exec::a_mapping_of_a_written_file_does_not_become_code",
        root,
        a_mapping_of_a_written_file_does_not_become_code,
    );
    suite.test(
        "exec::a_mapping_of_a_listed_program_becomes_code",
        root,
        a_mapping_of_a_listed_program_becomes_code,
    );
    suite.test(
        "exec::a_written_library_is_not_loaded",
        root,
        a_written_library_is_not_loaded,
    );
    suite.test(
        "exec::executes_only_the_listed_paths",
        root,
        executes_only_the_listed_paths,
    );
    suite.test(
        "exec::what_the_command_makes_and_may_execute_is_removed_and_made_anew",
        OWN_RUN_ON_HOSTS,
        || script(MADE_ANEW),
    );
    // Landlock goes by the folder that a file was in, whether or not it still has a name there.
    suite.test(
        "exec::a_file_without_a_name_is_not_executed",
        &[Need::Root, Need::BpfLsm],
        a_file_without_a_name_is_not_executed,
    );
}

/// As a build does: on a fresh checkout, and on one where everything is there already.
const MADE_ANEW: &str = r#"
cat > p.toml <<'PROFILE'
version = 1
extends = ["base"]
[files]
read = ["${CWD}/**", "/usr/bin/*"]
write = ["${CWD}/**"]
exec = ["${CWD}/build/**", "${CWD}/tool", "/usr/bin/*"]
PROFILE
mkdir w
cd w
for round in 1 2; do
    $R run -p ../p.toml -- sh -exc '
        rm -rf build
        mkdir build
        cp /usr/bin/true build/a
        build/a
        cp /usr/bin/true tool.new
        mv tool.new tool
        ./tool
        mv build old
        mkdir build
        rm -r old'
done
# A copy of a program that gains privileges is another one.
cp /usr/bin/true data
mkdir -p build
sed '$a [process]\nallow-privilege-gain = true' ../p.toml > ../gain.toml
code=0
$R run -p ../gain.toml -- ./data 2> ../told || code=$?
cat ../told
[ $code = 126 ] && grep -q 'Permission denied' ../told
# In what is another user's, names are not the command's to give.
chown 1:1 .
chmod 755 .
if $R run -q -p ../p.toml -- ./data; then echo 'executed' >&2; exit 1; fi
"#;

fn a_listed_program_is_executed() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("exec /usr/bin/true", OK),
        ("exec /bin/sh -c true", OK),
        ("exec /lib64/ld-linux-x86-64.so.2 /usr/bin/true", OK),
        ("map /usr/bin/true", OK),
    ])
}

fn a_written_program_is_not_executed() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("copy /usr/bin/true $TMPDIR/tool", OK),
        ("exec $TMPDIR/tool", DENIED),
        ("symlink $TMPDIR/tool $TMPDIR/link", OK),
        ("exec $TMPDIR/link", DENIED),
    ])
}

fn the_loader_does_not_execute_what_was_written() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("copy /usr/bin/true $TMPDIR/tool", OK),
        (
            "exec /lib64/ld-linux-x86-64.so.2 $TMPDIR/tool",
            // The loader's own: it could not map a segment.
            "exit 127",
        ),
    ])
}

fn a_written_script_is_not_executed() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("script $TMPDIR/shell #!/bin/sh", OK),
        ("exec $TMPDIR/shell", DENIED),
        // An interpreter reads: what may be read may be interpreted.
        ("exec /bin/sh $TMPDIR/shell", OK),
    ])
}

fn memory_is_not_executed() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("memory /usr/bin/true handle", DENIED),
        ("memory /usr/bin/true proc", DENIED),
    ])
}

fn a_written_file_is_not_mapped_as_code() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("copy /usr/bin/true $TMPDIR/tool", OK),
        ("map $TMPDIR/tool", DENIED),
    ])
}

fn a_mapping_of_a_written_file_does_not_become_code() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("copy /usr/bin/true $TMPDIR/tool", OK),
        ("protect $TMPDIR/tool", DENIED),
    ])
}

fn a_mapping_of_a_listed_program_becomes_code() -> Verdict {
    // In a machine this is an overlay, whose mappings the kernel keeps under the path of the layer below.
    Fence::untrusted()?.tries(&[("protect /usr/bin/true", OK)])
}

fn a_written_library_is_not_loaded() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("preload /lib/x86_64-linux-gnu/libm.so.6", OK),
        ("copy /lib/x86_64-linux-gnu/libm.so.6 $TMPDIR/libm.so.6", OK),
        ("preload $TMPDIR/libm.so.6", DENIED),
    ])
}

fn executes_only_the_listed_paths() -> Verdict {
    let fence = Fence::with(r#"read = ["@/**"]"#)?;
    std::fs::copy("/usr/bin/true", fence.at("tool"))?;
    std::fs::copy("/usr/bin/true", fence.at("other"))?;
    let tool = fence.at("tool");
    let fence = fence.and(["--exec".into(), tool.into_os_string()]);
    fence.tries(&[
        ("exec tool", OK),
        ("exec other", DENIED),
        ("exec /usr/bin/true", DENIED),
        ("exec /lib64/ld-linux-x86-64.so.2 ./other", "exit 127"),
    ])?;
    fence
        .run([
            PYTHON,
            "-IS",
            "-c",
            "import os; os.execv('other', ['other'])",
        ])
        .run()?
        .fails()?;
    Ok(())
}

fn a_file_without_a_name_is_not_executed() -> Verdict {
    let everything = r#"read = ["@/tools/**"]
write = ["@/tools/**"]
exec = ["@/tools/**"]"#;
    let fence = Fence::with(everything)?;
    std::fs::create_dir(fence.at("tools"))?;
    std::fs::copy("/usr/bin/true", fence.at("tools/tool"))?;
    fence.tries(&[("exec tools/tool", OK), ("deleted tools/tool", DENIED)])
}
