//! One machine from start to end: the file daemon, qemu, the channels home, the clock.
//!
//! Both children are ours by handle, die with us (`setpriv --pdeathsig`) and are the only processes that are ever
//! killed here. Sockets lie in a private folder, so that machines beside each other do not meet.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::accelerator::Accelerator;
use super::channel::{Channel, Sink};
use super::initrd;
use super::job::Job;
use super::kernel::Kernel;
use crate::tool::{find, say};

/// Where distributions put the daemon that shows a folder to a machine.
pub(crate) const VIRTIOFSD: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// As distributions that have it order them: bpf last, so that it sees what the others let through.
pub(crate) const DEFAULT_LSM: &str = "landlock,lockdown,yama,integrity,bpf";

/// What is booted, and how long it may take.
pub(crate) struct Machine {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// In MiB.
    pub(crate) memory: u32,
    /// Number of processors.
    pub(crate) cpus: u32,
    /// From start to end.
    pub(crate) timeout: Duration,
    /// The kernel's `lsm=`.
    pub(crate) lsm: String,
    /// Whether the console is shown.
    pub(crate) console: bool,
    /// What its clock goes by.
    pub(crate) clock: Clock,
}

/// What a machine's clock goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// This host's clock.
    Host,
    /// A nanosecond for each instruction that its one processor has done; where it has nothing to do, it goes on to when it has.
    Instructions,
}

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The job ended with this code.
    Exited(u8),
    /// It was killed at its timeout.
    TimedOut,
}

/// How one boot went; with the end of the console where that is of interest.
enum Course {
    Ended(u8),
    TimedOut(String),
    Died(String),
    NeverStarted(String),
}

/// Emulated machines sometimes die on their way up; one that does so three times has a reason.
const BOOTS: u32 = 3;

impl Machine {
    /// Boots, runs the job, carries its output. A machine that dies before the job starts is given another chance.
    pub(crate) fn run(&self, job: &Job, out: &Sink, err: &Sink) -> Result<Ending> {
        let accelerator = match self.clock {
            Clock::Host => Accelerator::choose(&self.kernel)?,
            Clock::Instructions => Accelerator::Tcg,
        };
        let mut attempt = 1;
        loop {
            match self.boot(accelerator, job, out, err)? {
                Course::Ended(code) => return Ok(Ending::Exited(code)),
                Course::TimedOut(console) => {
                    let seconds = self.timeout.as_secs();
                    say(format!(
                        "the machine did not end within {seconds} s and was killed (--timeout for longer)"
                    ));
                    say(format!("the end of its console:\n{console}"));
                    return Ok(Ending::TimedOut);
                }
                Course::Died(console) => {
                    bail!("the machine died under its job; the end of its console:\n{console}")
                }
                Course::NeverStarted(console) if attempt == BOOTS => {
                    bail!(
                        "the machine did not come up, {BOOTS} times; the end of its console:\n{console}"
                    )
                }
                Course::NeverStarted(_) => say("the machine died before it came up: booting again"),
            }
            attempt += 1;
        }
    }

    fn boot(&self, accelerator: Accelerator, job: &Job, out: &Sink, err: &Sink) -> Result<Course> {
        let (version, cpus, memory) = (&self.kernel.version, self.cpus, self.memory);
        say(format!(
            "booting Linux {version} ({}, {cpus} processors, {memory} MiB)",
            accelerator.name()
        ));
        let work = tempfile::tempdir().context("could not make a folder for a machine")?;
        let status = Arc::new(Mutex::new(Vec::new()));
        let channels = [
            Channel::open("out", work.path(), out.clone())?,
            Channel::open("err", work.path(), err.clone())?,
            Channel::open("status", work.path(), Sink::of(Shared(Arc::clone(&status))))?,
        ];
        let daemon = Ours(start_daemon(work.path())?);
        let whole = initrd::with_job(&self.kernel.initrd, job, work.path())?;
        let console = work.path().join("console");
        let mut qemu = self.command(accelerator, &whole, &console, &channels);
        share_files(&mut qemu, work.path(), memory);
        let in_time = self.wait(
            &mut Ours(qemu.spawn().context("could not start qemu")?),
            &console,
        )?;
        drop(daemon);
        for channel in channels {
            channel.finish()?;
        }
        if !in_time {
            return Ok(Course::TimedOut(tail(&console)));
        }
        let told = status
            .lock()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        Ok(match told.lines().last().map(str::parse) {
            Some(Ok(code)) => Course::Ended(code),
            Some(Err(_)) => Course::Died(tail(&console)),
            None => Course::NeverStarted(tail(&console)),
        })
    }

    fn command(
        &self,
        accelerator: Accelerator,
        initrd: &Path,
        console: &Path,
        channels: &[Channel],
    ) -> Command {
        let mut qemu = dying_with_us("qemu-system-x86_64");
        qemu.args(accelerator.options());
        if self.clock == Clock::Instructions {
            qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        qemu.args([
            "-M",
            "q35",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args([
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &self.memory.to_string(),
        ])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        for channel in channels {
            let (name, socket) = (channel.name, channel.socket.display());
            qemu.args(["-chardev", &format!("socket,id={name},path={socket}")])
                .args([
                    "-device",
                    &format!("virtserialport,chardev={name},name={name}"),
                ]);
        }
        let lsm = &self.lsm;
        qemu.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(initrd).arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 oops=panic lsm={lsm} mitigations=off random.trust_cpu=on"
        ));
        qemu.stdin(Stdio::null()).stdout(std::io::stderr());
        qemu
    }

    /// Whether it ended by itself in time; if not, it is killed.
    fn wait(&self, qemu: &mut Ours, console: &Path) -> Result<bool> {
        let deadline = Instant::now() + self.timeout;
        let mut shown = 0;
        loop {
            let ended = qemu.0.try_wait().context("could not wait for qemu")?;
            if self.console {
                shown = show_from(console, shown)?;
            }
            match ended {
                Some(status) if !status.success() => bail!("qemu failed: {status}"),
                Some(_) => return Ok(true),
                None if Instant::now() >= deadline => return Ok(false),
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Whether the kernel starts its first program under this accelerator.
pub(crate) fn comes_up(kernel: &Kernel, accelerator: Accelerator, patience: Duration) -> bool {
    let attempt = || -> Result<bool> {
        let work = tempfile::tempdir()?;
        let status = Arc::new(Mutex::new(Vec::new()));
        let channel = Channel::open("status", work.path(), Sink::of(Shared(Arc::clone(&status))))?;
        let mut qemu = dying_with_us("qemu-system-x86_64");
        qemu.args(accelerator.options())
            .args([
                "-M",
                "q35",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-m",
                "512",
            ])
            .args([
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtserialport,chardev=status,name=status",
            ])
            .args([
                "-chardev",
                &format!("socket,id=status,path={}", channel.socket.display()),
            ])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&kernel.initrd)
            .args(["-append", "quiet panic=-1 ringfence.probe"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut qemu = Ours(qemu.spawn()?);
        let deadline = Instant::now() + patience;
        while qemu.0.try_wait()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(qemu);
        channel.finish()?;
        Ok(status.lock().is_ok_and(|bytes| bytes.starts_with(b"0")))
    };
    attempt().unwrap_or(false)
}

/// Starts the daemon on a socket that listens already, in a mount namespace where this host's files are read-only: the
/// machine's root is not to be trusted with them.
fn start_daemon(work: &Path) -> Result<Child> {
    let socket = UnixListener::bind(work.join("files"))
        .context("could not make the file daemon's socket")?;
    let daemon = VIRTIOFSD
        .iter()
        .find_map(|one| find(one))
        .context("virtiofsd is missing")?;
    // Every mount on its own: a remount is not recursive. Paths in mountinfo have their spaces as octal numbers.
    let script = r#"while read -r _ _ _ _ point _; do
            mount -o remount,bind,ro "$(printf %b "$point")" || [ "$point" != / ] || exit 1
        done </proc/self/mountinfo
        exec "$0" "$@""#;
    let log = std::fs::File::create(work.join("files.log"))
        .context("could not make the file daemon's log")?;
    dying_with_us("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(daemon)
        .args([
            "--fd=0",
            "-o",
            "source=/",
            "-o",
            "cache=always",
            "-o",
            "sandbox=chroot",
            "--rlimit-nofile=0",
        ])
        .stdin(OwnedFd::from(socket))
        .stdout(
            log.try_clone()
                .context("could not share the file daemon's log")?,
        )
        .stderr(log)
        .spawn()
        .context("could not start the file daemon")
}

fn share_files(qemu: &mut Command, work: &Path, memory: u32) {
    qemu.args([
        "-object",
        &format!("memory-backend-memfd,id=memory,size={memory}M,share=on"),
    ])
    .args(["-numa", "node,memdev=memory"])
    .args([
        "-chardev",
        &format!("socket,id=files,path={}", work.join("files").display()),
    ])
    .args(["-device", "vhost-user-fs-pci,chardev=files,tag=host"]);
}

/// A command that the kernel ends when we end, whatever ended us.
fn dying_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// A child that does not outlive its handle.
struct Ours(Child);

impl Drop for Ours {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        if self.0.kill().is_ok()
            && let Err(error) = self.0.wait()
        {
            say(format!("could not wait for a child: {error}"));
        }
    }
}

/// Bytes that a channel leaves for us.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .map_err(|_| std::io::Error::other("poisoned"))?
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tail(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn show_from(console: &Path, from: u64) -> Result<u64> {
    let Ok(mut file) = std::fs::File::open(console) else {
        return Ok(from);
    };
    file.seek(SeekFrom::Start(from))
        .context("could not read the console")?;
    let mut text = String::new();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .context("could not read the console")?;
    text.push_str(&String::from_utf8_lossy(&bytes));
    eprint!("{}", text.replace('\r', ""));
    Ok(from + bytes.len() as u64)
}
