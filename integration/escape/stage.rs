//! The stage: folders with rules of every kind, a victim beside them, and the attacker behind a fence or without one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use libtest_mimic::Failed;
use walkdir::WalkDir;

use super::arena::{Arena, SECRET, Victim};
use super::attacker::{ARENA, Line};
use super::case::World;
use super::{attacker, cases, profile, victim};
use crate::kit::{Folder, Need, Ringfence};

/// Somebody without any privilege.
pub(super) const NOBODY: u32 = 65534;
/// Descriptors that the caller of ringfence forgot to close: a closed file, a closed folder, a connected socket.
pub(super) const LEAKED: [i32; 3] = [57, 58, 59];

/// What enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Engine {
    BpfLsm,
    Fallback,
}

impl Engine {
    /// As the command line and the tables have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BpfLsm => "bpf-lsm",
            Self::Fallback => "fallback",
        }
    }
}

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    Root,
    Nobody,
}

impl User {
    /// In tests and tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Nobody => "user",
        }
    }

    /// Its number.
    pub(super) fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Nobody => NOBODY,
        }
    }
}

/// A stage for one run.
pub(super) struct Stage {
    folder: Folder,
    world: World,
    user: User,
    victim: Neighbour,
    sibling: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

/// The victim's process.
struct Neighbour {
    process: Child,
    facts: Victim,
    /// Closed, it leaves.
    _stdin: Option<ChildStdin>,
}

impl Stage {
    /// For the cases of one world.
    pub(super) fn build(world: World, user: User) -> Result<Self, Failed> {
        let folder = Folder::new()?;
        for case in cases().iter().filter(|case| case.world == world) {
            furnish(&folder, case.id)?;
        }
        for (name, content) in [
            ("closed/victim/secret", SECRET),
            ("closed/victim/folder/secret", SECRET),
            ("read/record", ""),
        ] {
            folder.file(name, content)?;
        }
        fs::create_dir_all(folder.at("open"))?;
        give(folder.path(), user)?;
        profile::write(&folder, world)?;
        gaining_program(&folder)?;
        let victim = Neighbour::moves_in(&folder, user)?;
        let sibling = cgroup().join(format!("ringfence-escape-{}", std::process::id()));
        fs::create_dir_all(&sibling)?;
        let mut stage = Self {
            folder,
            world,
            user,
            victim,
            sibling,
            before: BTreeMap::new(),
        };
        stage.before = stage.guarded()?;
        Ok(stage)
    }

    /// What the attacker is told.
    pub(super) fn arena(&self, fenced: bool) -> Arena {
        let emulated = std::env::var("RINGFENCE_FLOOR").is_ok_and(|floor| floor.starts_with("vm-"));
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown");
        Arena {
            fenced,
            world: self.world,
            only: Vec::new(),
            stage: self.folder.path().to_owned(),
            patience: if emulated { 60 } else { 20 },
            rounds: if emulated { 200 } else { 2000 },
            lockdown: lockdown.is_ok_and(|mode| !mode.contains("[none]")),
            pinned: Need::BpfLsm.unmet().is_none(),
            cgroup: cgroup(),
            sibling: self.sibling.clone(),
            victim: self.victim.facts.clone(),
            case: String::new(),
            inherited: Vec::new(),
        }
    }

    /// `ringfence run` with the attacker, in a closed folder, with more descriptors open than it should have.
    pub(super) fn fenced(&self, engine: Engine, arena: &Arena) -> Result<Command, Failed> {
        let mut options = vec!["run", "--quiet", "--engine", engine.name()];
        let mut run = Ringfence::with(Vec::<&str>::new());
        match (self.user, engine) {
            (User::Root, _) => {}
            // Only root can load the programs, so it is root who starts something for a user.
            (User::Nobody, Engine::BpfLsm) => options.extend(["--user", "65534"]),
            (User::Nobody, Engine::Fallback) => run = run.by_ordinary_user(),
        }
        let run = run
            .and(options)
            .and(["-p".into(), profile::path(&self.folder).into_os_string()])
            .and(["--".into(), std::env::current_exe()?.into_os_string()])
            .in_folder(&self.folder.at("closed"))
            .variable("XDG_STATE_HOME", self.folder.at("trial"))
            .variable(ARENA, serde_json::to_string(arena)?);
        let mut command = run.command();
        leak(&mut command, &self.folder)?;
        Ok(command)
    }

    /// The attacker alone.
    pub(super) fn unfenced(&self, arena: &Arena) -> Result<Command, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env(ARENA, serde_json::to_string(arena)?)
            .current_dir(self.folder.at("closed"))
            .stdin(Stdio::null());
        if self.user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        leak(&mut command, &self.folder)?;
        Ok(command)
    }

    /// What has changed where nothing may: case and change.
    pub(super) fn changes(&self) -> Result<Vec<(String, String)>, Failed> {
        let after = self.guarded()?;
        let mut changes = Vec::new();
        let names: std::collections::BTreeSet<_> = self.before.keys().chain(after.keys()).collect();
        for name in names {
            let (was, is) = (self.before.get(name), after.get(name));
            if was != is {
                let case = name
                    .components()
                    .nth(1)
                    .map(|case| case.as_os_str().to_string_lossy());
                let was = was.map_or("not there", String::as_str);
                let is = is.map_or("not there", String::as_str);
                changes.push((
                    case.unwrap_or_default().into_owned(),
                    format!("{}: was {was}, is {is}", name.display()),
                ));
            }
        }
        Ok(changes)
    }

    /// Whether the victim is still there, and its files are.
    pub(super) fn victim_stands(&mut self) -> Result<bool, Failed> {
        Ok(self.victim.process.try_wait()?.is_none())
    }

    /// Everything below `read` and `closed`, with all that an attack could change.
    fn guarded(&self) -> Result<BTreeMap<PathBuf, String>, Failed> {
        let mut seen = BTreeMap::new();
        for top in ["read", "closed"] {
            for entry in WalkDir::new(self.folder.at(top)).min_depth(1) {
                let entry = entry?;
                let about = entry.metadata()?;
                let name = entry.path().strip_prefix(self.folder.path())?.to_owned();
                // The victim changes its own things, and hands them to whoever asks.
                if name == Path::new("read/record") || name.starts_with("closed/victim") {
                    continue;
                }
                let content = if about.is_file() {
                    fs::read(entry.path())?
                } else {
                    Vec::new()
                };
                let about = format!(
                    "mode {:o} owner {}:{} links {} changed {}.{:09} content {:?}",
                    about.mode(),
                    about.uid(),
                    about.gid(),
                    about.nlink(),
                    about.ctime(),
                    about.ctime_nsec(),
                    String::from_utf8_lossy(&content[..content.len().min(64)])
                );
                seen.insert(name, about);
            }
        }
        Ok(seen)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Ended by its input's end; then the cgroup is empty.
        self.victim._stdin = None;
        self.victim.process.wait().ok();
        fs::remove_dir(&self.sibling).ok();
    }
}

impl Neighbour {
    fn moves_in(folder: &Folder, user: User) -> Result<Self, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env(victim::STAGE, folder.path())
            .env("SECRET", SECRET)
            .process_group(0)
            .current_dir(folder.at("closed/victim"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let facts = serde_json::from_str(&line).map_err(|_| format!("the victim said {line:?}"))?;
        Ok(Self {
            process,
            facts,
            _stdin: stdin,
        })
    }
}

/// What is said of each case, in what an attacker printed.
pub(super) fn understood(text: &str) -> Result<BTreeMap<String, Line>, Failed> {
    let mut lines = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let line: Line = serde_json::from_str(line)?;
        lines.insert(line.case.clone(), line);
    }
    Ok(lines)
}

/// The lines of a run that ends by itself.
pub(super) fn lines(mut command: Command) -> Result<BTreeMap<String, Line>, Failed> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.starts_with(attacker::READY) {
        return understood(&text);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("the attacker ended with {}\n{text}{error}", output.status).into())
}

/// Things to attack, in the three folders of one case.
fn furnish(folder: &Folder, case: &str) -> Result<(), Failed> {
    folder.file(&format!("read/{case}/file"), "may be read")?;
    folder.file(&format!("read/{case}/folder/file"), "may be read")?;
    folder.file(&format!("closed/{case}/secret"), SECRET)?;
    folder.file(&format!("closed/{case}/folder/secret"), SECRET)?;
    let program = folder.at(&format!("read/{case}/program"));
    fs::copy("/bin/true", &program)?;
    symlink("secret", folder.at(&format!("closed/{case}/link")))?;
    fs::create_dir_all(folder.at(&format!("open/{case}")))?;
    Ok(())
}

/// Everything belongs to the user, so that nothing but the fence is in the way.
fn give(path: &Path, user: User) -> Result<(), Failed> {
    for entry in WalkDir::new(path) {
        let entry = entry?;
        std::os::unix::fs::lchown(entry.path(), Some(user.id()), Some(user.id()))?;
    }
    Ok(())
}

/// A program that makes whoever starts it root.
fn gaining_program(folder: &Folder) -> Result<(), Failed> {
    fs::create_dir_all(folder.at("bin"))?;
    let program = folder.at("bin/gain");
    fs::copy("/usr/bin/id", &program)?;
    chown(&program, Some(0), Some(0))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    Ok(())
}

/// The machine's cgroup2 hierarchy.
fn cgroup() -> PathBuf {
    let alone = Path::new("/sys/fs/cgroup");
    if alone.join("cgroup.procs").exists() {
        alone.to_owned()
    } else {
        alone.join("unified")
    }
}

/// The command starts with descriptors that nobody meant to give it.
fn leak(command: &mut Command, folder: &Folder) -> Result<(), Failed> {
    let file = fs::File::open(folder.at("closed/victim/secret"))?;
    let directory = fs::File::open(folder.at("closed/victim/folder"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    std::thread::spawn(move || listener.accept().map(|(mut peer, _)| peer.read(&mut [0])));
    // SAFETY: the child calls dup2 and nothing else; the files are moved into the closure and stay open.
    #[expect(clippy::multiple_unsafe_ops_per_block)]
    unsafe {
        command.pre_exec(move || {
            let sources = [file.as_raw_fd(), directory.as_raw_fd(), socket.as_raw_fd()];
            for (source, target) in sources.into_iter().zip(LEAKED) {
                if libc::dup2(source, target) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        })
    };
    Ok(())
}
