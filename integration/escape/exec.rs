//! Executing what is not listed: by other names, out of memory, by the loader, by what is mapped, by what is poked.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, thread};

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, absent, escaped, nothing};
use super::system::{c, call, descriptor, in_child, map, open, place};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::least(
            "X0",
            "a program that was written is executed",
            executes_written,
        ),
        Case::least(
            "X0a",
            "a program that may be read is executed",
            executes_readable,
        ),
        Case::least(
            "X1",
            "a program in memory is executed by its descriptor",
            executes_memory,
        ),
        Case::least(
            "X1a",
            "a program in memory is executed by its name in /proc",
            executes_memory_by_name,
        ),
        Case::least(
            "X2",
            "a program without a name is executed",
            executes_unnamed,
        ),
        Case::least("X2a", "a removed program is executed", executes_removed),
        Case::least(
            "X3",
            "the dynamic loader is told to run a program that may be read",
            by_loader,
        ),
        Case::least(
            "X6",
            "a script names /proc/self/exe as its interpreter",
            by_self_interpreter,
        ),
        Case::least(
            "X6a",
            "a script that was written is executed",
            executes_script,
        ),
        Case::wide(
            "X7",
            "a binary format is registered with the kernel",
            registers_format,
        )
        .by_root(),
        Case::least("X8", "a library that was written is preloaded", preloads),
        Case::least(
            "X10",
            "a mapping of a written file is made code",
            protects_mapping,
        ),
        Case::least("X10a", "a written file is mapped as code", maps_code),
        Case::least(
            "X12",
            "code that may not be written is written by /proc/self/mem",
            pokes_memory,
        ),
        Case::least("X17", "the program is swapped while it is executed", swaps),
        Case::least(
            "X20",
            "every mapping that can be read is made code",
            reads_imply_code,
        ),
        Case::least(
            "X22",
            "execveat runs an O_PATH descriptor",
            executes_path_descriptor,
        ),
        Case::least(
            "X23",
            "shared memory of System V holds a file's code",
            maps_shared_code,
        ),
        Case::least(
            "X24",
            "a program of a friend outside is executed",
            executes_gift,
        ),
        Case::least("X25", "a set-user-id program makes its caller root", gains).by_user(),
        Case::least(
            "X26",
            "a program executed by root has root's capabilities again",
            regains,
        )
        .by_root(),
        Case::least(
            "X27",
            "a copied set-user-id program keeps its power",
            sets_user_id,
        )
        .by_root(),
    ]
}

/// A program of the attacker's own.
fn written(arena: &Arena) -> io::Result<PathBuf> {
    let program = arena.open("program");
    fs::write(&program, fs::read("/bin/true")?)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// Executes in a child.
fn run(program: impl AsRef<Path>) -> Attempt {
    let program = c(program)?;
    in_child(|| execute(&program))?;
    escaped("ran")
}

fn execute(program: &CString) -> io::Result<()> {
    let mut arguments = [program.as_ptr(), std::ptr::null()];
    let mut environment = [std::ptr::null::<u8>()];
    call(
        libc::SYS_execve,
        &[
            program.into(),
            place(&mut arguments),
            place(&mut environment),
        ],
    )?;
    Ok(())
}

fn run_descriptor(program: &OwnedFd) -> Attempt {
    in_child(|| {
        let mut arguments = [c"program".as_ptr(), std::ptr::null()];
        let mut environment = [std::ptr::null::<u8>()];
        call(
            libc::SYS_execveat,
            &[
                program.into(),
                c"".into(),
                place(&mut arguments),
                place(&mut environment),
                libc::AT_EMPTY_PATH.into(),
            ],
        )?;
        Ok(())
    })?;
    escaped("ran")
}

fn executes_written(arena: &Arena) -> Attempt {
    run(written(arena)?)
}

fn executes_readable(arena: &Arena) -> Attempt {
    run(arena.read("program"))
}

fn memory() -> io::Result<OwnedFd> {
    let memory = descriptor(
        libc::SYS_memfd_create,
        &[c"program".into(), libc::MFD_CLOEXEC.into()],
    )?;
    let program = fs::read("/bin/true")?;
    super::system::write(&memory, &program)?;
    Ok(memory)
}

fn executes_memory(_: &Arena) -> Attempt {
    run_descriptor(&memory()?)
}

fn executes_memory_by_name(_: &Arena) -> Attempt {
    let memory = memory()?;
    run(format!("/proc/self/fd/{}", memory.as_raw_fd()))
}

fn executes_unnamed(arena: &Arena) -> Attempt {
    let unnamed = open(arena.open("."), libc::O_TMPFILE | libc::O_RDWR)?;
    super::system::write(&unnamed, &fs::read("/bin/true")?)?;
    call(libc::SYS_fchmod, &[(&unnamed).into(), 0o755.into()])?;
    // A file that is open for writing cannot be executed: another descriptor for it, and the first one closed.
    let reader = open(
        format!("/proc/self/fd/{}", unnamed.as_raw_fd()),
        libc::O_RDONLY,
    )?;
    drop(unnamed);
    run_descriptor(&reader)
}

fn executes_removed(arena: &Arena) -> Attempt {
    let program = written(arena)?;
    let reader = open(&program, libc::O_RDONLY)?;
    fs::remove_file(&program)?;
    run_descriptor(&reader)
}

fn executes_path_descriptor(arena: &Arena) -> Attempt {
    run_descriptor(&open(written(arena)?, libc::O_PATH)?)
}

fn by_loader(arena: &Arena) -> Attempt {
    let output = Command::new("/lib64/ld-linux-x86-64.so.2")
        .arg(arena.read("program"))
        .output()?;
    if output.status.success() {
        escaped("ran")
    } else {
        nothing(
            String::from_utf8_lossy(&output.stderr)
                .trim()
                .chars()
                .take(80)
                .collect::<String>(),
        )
    }
}

fn script(arena: &Arena, head: &str) -> io::Result<PathBuf> {
    let script = arena.open("script");
    fs::write(&script, head)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn by_self_interpreter(arena: &Arena) -> Attempt {
    // Without the variable this program would run its tests.
    run(script(arena, "#!/proc/self/exe --list\n")?)
}

fn executes_script(arena: &Arena) -> Attempt {
    run(script(arena, "#!/bin/true\n")?)
}

fn registers_format(arena: &Arena) -> Attempt {
    let register = Path::new("/proc/sys/fs/binfmt_misc/register");
    if !arena.fenced && !register.exists() {
        return absent("binfmt_misc is not mounted");
    }
    open(register, libc::O_WRONLY)?;
    escaped("opened for writing")
}

/// A library that every system has and no program of ours uses.
fn library(arena: &Arena) -> Result<PathBuf, Stop> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let libraries = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    let source = libraries.into_iter().find(|name| name.contains("libgcc_s"));
    let target = arena.open("evil.so");
    fs::write(
        &target,
        fs::read(source.ok_or_else(|| Stop::Broken("no library".into()))?)?,
    )?;
    Ok(target)
}

fn preloads(arena: &Arena) -> Attempt {
    let library = library(arena)?;
    let output = Command::new("/bin/cat")
        .arg("/proc/self/maps")
        .env("LD_PRELOAD", &library)
        .stderr(Stdio::null())
        .output()?;
    let name = library.display().to_string();
    let maps = String::from_utf8_lossy(&output.stdout);
    let code = maps
        .lines()
        .any(|line| line.contains(&name) && line.contains("r-xp"));
    if code {
        escaped("mapped as code")
    } else {
        nothing("not mapped as code")
    }
}

fn protects_mapping(arena: &Arena) -> Attempt {
    let file = open(written(arena)?, libc::O_RDWR)?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let address = map(4096, both, libc::MAP_PRIVATE, Some(&file), 0)?;
    call(
        libc::SYS_mprotect,
        &[
            (address as usize).into(),
            4096.into(),
            (libc::PROT_READ | libc::PROT_EXEC).into(),
        ],
    )?;
    escaped("is code")
}

fn maps_code(arena: &Arena) -> Attempt {
    let file = open(written(arena)?, libc::O_RDONLY)?;
    map(
        4096,
        libc::PROT_READ | libc::PROT_EXEC,
        libc::MAP_PRIVATE,
        Some(&file),
        0,
    )?;
    escaped("is code")
}

fn pokes_memory(arena: &Arena) -> Attempt {
    let memory = open("/proc/self/mem", libc::O_RDWR)?;
    let here = pokes_memory as fn(&Arena) -> Attempt as usize;
    let mut byte = [0u8];
    call(
        libc::SYS_pread64,
        &[
            (&memory).into(),
            (&mut byte[..]).into(),
            1.into(),
            here.into(),
        ],
    )?;
    let words = [(&memory).into(), (&byte[..]).into(), 1.into(), here.into()];
    match call(libc::SYS_pwrite64, &words) {
        // Since 6.12 a kernel may be built so that only who traces a task writes there (CONFIG_PROC_MEM_NO_FORCE and the like).
        Err(error) if !arena.fenced && error.raw_os_error() == Some(libc::EIO) => {
            return absent("this kernel lets nobody write to code");
        }
        answer => answer?,
    };
    escaped("wrote to code")
}

fn swaps(arena: &Arena) -> Attempt {
    let evil = written(arena)?;
    let (name, next) = (arena.open("name"), arena.open("next"));
    let links = |target: &Path| -> io::Result<()> {
        std::os::unix::fs::symlink(target, &next)?;
        fs::rename(&next, &name)
    };
    links(Path::new("/bin/cat"))?;
    let over = AtomicBool::new(false);
    let mut tried = 0;
    let mut caught = 0;
    let mut refused = 0;
    thread::scope(|scope| -> Result<(), Stop> {
        let swapper = scope.spawn(|| -> io::Result<()> {
            while !over.load(Ordering::Relaxed) {
                links(&evil)?;
                links(Path::new("/bin/cat"))?;
            }
            Ok(())
        });
        // `cat` of a descriptor that is closed fails; the other program succeeds.
        while tried < arena.rounds / 20 || (refused == 0 && caught == 0 && tried < arena.rounds) {
            tried += 1;
            match Command::new(&name)
                .stdin(Stdio::null())
                .arg("/proc/self/fd/999")
                .stderr(Stdio::null())
                .status()
            {
                Ok(status) => caught += u32::from(status.success()),
                Err(_) => refused += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
        swapper
            .join()
            .map_err(|_| Stop::Broken("the swapper panicked".into()))??;
        Ok(())
    })?;
    if caught > 0 {
        return escaped(format!("ran {caught} times of {tried}"));
    }
    nothing(format!(
        "{refused} of {tried} were refused, the others ran what is listed"
    ))
}

fn reads_imply_code(arena: &Arena) -> Attempt {
    const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
    let file = open(written(arena)?, libc::O_RDONLY)?;
    call(libc::SYS_personality, &[READ_IMPLIES_EXEC.into()])?;
    map(4096, libc::PROT_READ, libc::MAP_PRIVATE, Some(&file), 0)?;
    escaped("is code")
}

fn maps_shared_code(arena: &Arena) -> Attempt {
    let file = open(written(arena)?, libc::O_RDONLY)?;
    map(
        4096,
        libc::PROT_READ | libc::PROT_EXEC,
        libc::MAP_SHARED,
        Some(&file),
        0,
    )?;
    escaped("is code")
}

fn executes_gift(arena: &Arena) -> Attempt {
    run_descriptor(&super::network::gift(arena, b'm')?)
}

fn gains(arena: &Arena) -> Attempt {
    let output = Command::new(arena.stage.join("bin/gain"))
        .arg("-u")
        .output()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "0" if nix::unistd::getuid().is_root() => nothing("was root before"),
        "0" => escaped("is root"),
        other => nothing(format!("is {other}")),
    }
}

fn regains(arena: &Arena) -> Attempt {
    let file = arena.open("nobodys");
    fs::write(&file, "x")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0))?;
    // Who may read a file of mode 0 has CAP_DAC_OVERRIDE.
    let status = Command::new("/bin/cat")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    match status.success() {
        true => escaped("has them"),
        false => nothing("has none"),
    }
}

fn sets_user_id(arena: &Arena) -> Attempt {
    let program = written(arena)?;
    super::system::call(
        libc::SYS_chown,
        &[(&c(&program)?).into(), 1.into(), 1.into()],
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755))?;
    escaped("made a program that acts as somebody else")
}
