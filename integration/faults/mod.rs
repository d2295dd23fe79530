//! What breaks under a fence: its supervisor, its files, what it has from the kernel. The fence stands, or nothing starts; the next run
//! cleans up. Each script has a `/run` of its own; what it tried is printed.

mod kernel;
mod place;
mod soak;
mod supervisor;

use crate::kit::{Suite, Verdict, told_by};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    supervisor::register(suite);
    place::register(suite);
    kernel::register(suite);
    soak::register(suite);
}

/// For scripts of this subject: claims about a fence that stands, and about nothing being left.
const CLAIMS: &str = r#"
export TMPDIR="$PWD/temporary"
mkdir -m 1777 "$TMPDIR"
groups() { find /sys/fs/cgroup -maxdepth 2 -type d -name 'ringfence-*' | sort; }
mounts() { cut -d' ' -f2,3 /proc/self/mounts | grep -v '^/run' | sort; }
groups > groups-before; mounts > mounts-before
# A command in the fence that does what it is asked, a word at a time: `try` gives 1 where the fence denies.
fence() { exec $R run "$@" --read "$PWD" --write "$PWD" -- sh -c '
    : > ready
    while read -r word < ask; do
        case $word in
            try) if cat /etc/shadow > /dev/null 2>&1; then echo 0 > answer; else echo 1 > answer; fi;;
            end) exit 7;;
        esac
    done'; }
mkfifo ask answer
ask() { timeout 20 sh -c 'echo try > ask; cat answer'; }
# Of this script's own supervisors nothing is left: files of the fence, cgroups, mounts, and of temporary directories what the next takes.
nothing_is_left() {
    $R run -q -- true &&
    [ "$($R ps --json)" = '[]' ] &&
    [ -z "$(find /run/ringfence/fences -type f)" ] &&
    [ -z "$(groups | comm -13 groups-before - | while read -r one; do own "$one" && echo "$one"; done)" ] &&
    mounts | cmp - mounts-before &&
    [ -z "$(find "$TMPDIR" -mindepth 1 ! -path "$TMPDIR/ringfence-*-[0-9]*"; find "$TMPDIR" -mindepth 2 ! -name ringfence)" ]
}
# Others run fences on this host at the same time: theirs are held.
own() { ! flock --nonblock "$1" true && return 1; true; }
"#;

/// Runs the script; what it tried is printed.
fn script(text: &str, files: &[(&str, &str)]) -> Verdict {
    let files: String = files
        .iter()
        .map(|(name, content)| format!("cat > {name} <<'END-OF-FILE'\n{content}\nEND-OF-FILE\n"))
        .collect();
    let told = told_by(&format!("{CLAIMS}\n{files}\n{text}"))?;
    for line in told.lines() {
        println!("faults: {line}");
    }
    Ok(())
}
