//! The programs in the kernel, before the first fence and after the last. Each test has a `/run` of its own, and with it
//! programs of its own.

use crate::kit::{Need, OWN_RUN_ON_HOSTS, Ringfence, Suite, script};

const NEEDS: &[Need] = &[Need::Root, Need::Cgroup, Need::Program("unshare")];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "load::programs_are_loaded_once_and_stay_while_a_fence_needs_them",
        NEEDS,
        || script(STAYING),
    );
    suite.test("load::only_root_loads_and_unloads", &[Need::Root], || {
        for verb in ["load", "unload"] {
            let refused = Ringfence::with([verb]).by_ordinary_user().run()?;
            refused.exits_with(125)?.complains("run it with sudo")?;
        }
        Ok(())
    });
    suite.test(
        "load::recordings_share_programs_and_leave_none_on_tracepoints",
        NEEDS,
        || script(RECORDING),
    );
    suite.test(
        "load::no_fence_is_made_of_programs_that_are_gone",
        OWN_RUN_ON_HOSTS,
        || script(GONE),
    );
    suite.test(
        "load::programs_stay_while_a_task_stands_in_a_fence_that_was_left",
        OWN_RUN_ON_HOSTS,
        || script(LEFT),
    );
    suite.test(
        "load::whoever_loads_the_programs_gives_back_the_memory_that_it_took",
        OWN_RUN_ON_HOSTS,
        || script(MEMORY),
    );
    suite.test(
        "load::a_fence_has_nothing_of_the_one_before_it_in_the_same_maps",
        NEEDS,
        || script(AGAIN),
    );
    suite.test(
        "load::what_was_compiled_is_taken_again_only_if_it_is_whole_and_roots_alone",
        OWN_RUN_ON_HOSTS,
        || script(COMPILED),
    );
    suite.test(
        "load::whatever_has_changed_since_a_profile_was_compiled_is_noticed",
        OWN_RUN_ON_HOSTS,
        || script(CHANGED),
    );
}

/// To parse the kernel's type information takes a hundred megabytes, and the supervisor stays for as long as its command runs.
const MEMORY: &str = r#"
stands() { $R run -q --write "$PWD" -- sh -c ': > ready; exec sleep 600' & until_ [ -e ready ]; rm ready; }
private() { awk '/^RssAnon:/ { print $2 }' "/proc/$1/status"; }
[ ! -e /run/ringfence/bpf ]
stands; first=$!
stands; second=$!
echo "$(private $first) KiB of who loaded, $(private $second) KiB of the next"
[ "$(private $first)" -lt 32768 ]
[ "$(private $second)" -lt 16384 ]
kill $first $second
wait
"#;

/// What is on tracepoints costs every system call of the host: it must not outlive the recording, and at most until the next run
/// a recorder that was killed.
const RECORDING: &str = r#"
on_tracepoints() { ls /run/ringfence/bpf/*/ | grep -cE 'link_record_(enter|exit|made|succeeded)$' || true; }
$R load
[ "$(on_tracepoints)" = 0 ]
mkfifo end
$R learn -o one -- sh -c ': > ready; cat end' &
until_ [ -e ready ]
[ "$(on_tracepoints)" = 2 ]
if $R unload; then echo 'unloaded under a recording' >&2; exit 1; fi
$R learn -o two -- true
[ "$(on_tracepoints)" = 2 ]
: > end
wait $!
[ "$(on_tracepoints)" = 0 ]
$R learn -o three -- sh -c 'echo $$ > child; exec sleep 600' &
until_ [ -s child ]
kill -9 $!
wait $! || true
[ "$(on_tracepoints)" = 2 ]
$R run -- true
[ "$(on_tracepoints)" = 0 ]
kill $(cat child)
$R unload
"#;

const LEFT: &str = r#"
$R run -q --read "$PWD" --write "$PWD" -- sh -c 'echo $$ > child; exec sleep 600' & run=$!
until_ [ -s child ]
kill -9 $run
wait $run || true
if $R unload; then echo 'unloaded under a task' >&2; exit 1; fi
kill $(cat child)
until_ $R unload
"#;

const STAYING: &str = r#"
$R load > first
grep -q 'loaded in' first
$R load > second
grep -q 'loaded already' second
mkfifo end
$R run --read "$PWD" --write "$PWD" -- sh -c ': > ready; cat end' &
until_ [ -e ready ]
if $R unload; then echo 'unloaded under a fence' >&2; exit 1; fi
: > end
wait $!
$R unload > third
grep -q '^unloaded' third
$R unload > fourth
grep -q 'nothing is loaded' fourth
"#;

/// A run that has found the programs waits for a reader of its events.
const GONE: &str = r#"
$R load
mkfifo events
$R run --events events -- touch started 2> told &
pid=$!
found() { ls -l /proc/$pid/fd | grep -q 'bpf-map'; }
until_ found
$R unload
$R load
cat events > /dev/null &
code=0
wait $pid || code=$?
[ $code = 125 ]
grep -q 'unloaded while the fence was set up' told
[ ! -e started ]
"#;

/// The third fence has a map that the second has left a denial in, and a table that allowed in the first.
const AGAIN: &str = r#"
echo text > secret
for rule in '' ", \"$PWD/secret\""; do
    printf 'version = 1\nextends = ["base"]\n[files]\nread = ["/usr/**"%s]\nexec = ["/usr/bin/cat"]\n' "$rule" > "p${rule:+1}.toml"
done
$R run -p p1.toml -- cat secret
for round in 1 2 3; do
    if $R run -p p.toml -- cat secret 2> told; then echo 'the rule of another fence' >&2; exit 1; fi
    # Anywhere in a line: cat says its own in pieces, and both write to one file.
    [ "$(grep -c 'ringfence: denied open' told)" = 1 ]
    $R run -p p1.toml -- cat secret 2> told
    if grep ringfence: told; then exit 1; fi
done
[ -z "$(find /run/ringfence/fences -type f -name '[0-9]*')" ]
"#;

const COMPILED: &str = r#"
export TMPDIR=$PWD/tmp
mkdir tmp
kept=/run/ringfence/compiled
denied() { code=0; $R run -q -- cat /etc/shadow > read 2> said || code=$?; [ $code = 1 ] && [ ! -s read ] && grep -q 'Permission denied' said; }
denied
[ "$(stat -c %a $kept)" = 700 ]
# From the second run on there is a record of the last one, which a rule is about.
rm $kept/*
denied
ls $kept > first
[ -s first ]
denied
ls $kept | cmp - first
cp -r $kept whole
# Whatever byte is another.
for place in 0 5 40 300; do
    for entry in $kept/*; do printf '\377' | dd of=$entry bs=1 seek=$place conv=notrunc status=none; done
    denied
done
# Cut, empty, open to others, a link to what is whole, and a directory.
for entry in $kept/*; do truncate -s -1 $entry; done
denied
for entry in $kept/*; do : > $entry; done
denied
chmod 666 $kept/*
denied
[ -z "$(find $kept -perm /077 -type f)" ]
for entry in $kept/*; do ln -sf $PWD/whole/${entry##*/} $entry; done
denied
[ -z "$(find $kept -type l)" ]
cp whole/* $kept/
denied
# A folder that others may enter is not used, and neither is one that cannot be made.
chmod 755 $kept
denied
rm -r $kept
: > $kept
denied
rm $kept
denied
ls $kept | cmp - first
# No fence looks in there, or writes.
code=0; $R run -q --read / --write / --exec / -- sh -c "ls $kept || : > $kept/x" > read 2> said || code=$?
[ $code != 0 ] && [ ! -s read ] && [ ! -e $kept/x ]
"#;

/// Each profile is run twice before something changes: by then what it comes to is known without its rules.
const CHANGED: &str = r#"
export TMPDIR=$PWD/tmp
mkdir tmp one two
echo first > one/file
echo second > two/file
ln -s one link
printf 'version = 1\nextends = ["base", "./more.toml"]\n[files]\nread = ["/usr/**"]\nexec = ["/usr/bin/cat"]\n' > own.toml
printf 'version = 1\n[files]\nread = ["${CWD}/link/**"]\n' > more.toml
reads() { [ "$($R run -q -p own.toml -- cat $1/file 2> said)" = $2 ]; }
fails() { code=0; $R run -q -p own.toml "${@:2}" -- cat $1/file > read 2> said || code=$?; [ $code = 1 ] && [ ! -s read ] && grep -q 'Permission denied' said; }
first() { reads one first && reads one first && fails two; }
second() { reads two second && reads two second && fails one; }
first
ln -sfn two link
second
ln -sfn one link
first
sed -i 's/link/two/' more.toml
second
mv more.toml third.toml
code=0; $R run -q -p own.toml -- cat two/file > read 2> said || code=$?
[ $code = 125 ] && [ ! -s read ] && grep -q more.toml said
sed -i 's/more/third/' own.toml
second
fails two --deny "$PWD/two/**"
second
printf '[variables]\nCWD = "${CWD}/one"\n' >> third.toml
sed -i 's,/two/,/,' third.toml
first
# Who is denied something is told why by rules that were not needed until then.
for told in 1 2; do $R run -p own.toml -- cat two/file 2> told.$told || true; done
grep -q "denied open $PWD/two/file" told.1
# What the command says itself comes before that or behind it.
lines() { sed 's/([0-9]*)//g' $1 | sort; }
cmp <(lines told.1) <(lines told.2)
# Another directory is another profile.
mkdir -p below/one
echo third > below/one/file
cd below
[ "$($R run -q -p ../own.toml -- cat one/file)" = third ]
code=0; $R run -q -p ../own.toml -- cat ../one/file > read 2> said || code=$?
[ $code = 1 ] && [ ! -s read ]
"#;
