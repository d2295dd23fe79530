"""Tries acts and says how each ended, a line each: `ok`, `denied`, or what else happened.

An act is an argument: a verb and its words, as a shell would split them; `\\xff` is a byte, `$TMPDIR` a variable.
"""

import ctypes, errno, fcntl, mmap, os, shlex, socket, stat, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
HERE = -100
# What a fence answers, whichever engine it has: read-only and separate mounts are the fallback's way to say no.
REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV}


def system(number, *words):
    """A system call that Python has no name for."""
    words = [ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word) for word in words]
    if libc.syscall(ctypes.c_long(number), *words) < 0:
        raise OSError(ctypes.get_errno(), "")


def opened(path, flags):
    os.close(os.open(path, flags | os.O_CLOEXEC, 0o644))


def reaches(act, *fine):
    """The act gets as far as the file system, which need not have what it asks for."""
    try:
        act()
    except OSError as error:
        if error.errno not in fine:
            raise


def reopened(path, first, then):
    """By the link in /proc/self/fd."""
    handle = os.open(path, first | os.O_CLOEXEC)
    opened(b"/proc/self/fd/%d" % handle, then)


def flags(path):
    handle = os.open(path, os.O_RDONLY)
    held = fcntl.ioctl(handle, 0x80086601, struct.pack("l", 0))
    fcntl.ioctl(handle, 0x40086602, struct.pack("l", struct.unpack("l", held)[0] | 0x40))


def unnamed(folder, name):
    """A file without a name, given one."""
    handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o644)
    system(265, HERE, b"/proc/self/fd/%d" % handle, HERE, name, 0x400)


def deep(folder, count, length):
    """So many folders in each other, each with a name of so many bytes."""
    os.chdir(folder)
    for _ in range(int(count)):
        os.mkdir(b"d" * int(length))
        os.chdir(b"d" * int(length))


def copy(source, target):
    with open(source, "rb") as read, open(target, "wb") as write:
        write.write(read.read())
    os.chmod(target, 0o755)


def script(target, text):
    with open(target, "wb") as write:
        write.write(text)
    os.chmod(target, 0o755)


def child(act):
    """Does it in a child, which comes back only if it failed; the child's exit code else."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
            act()
        except OSError as error:
            os._exit(200 if error.errno in REFUSALS else 201)
        finally:
            os._exit(202)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 200:
        raise PermissionError(errno.EACCES, "")
    if code:
        raise RuntimeError(f"exit {code}")


def execute(path, *words):
    child(lambda: os.execv(path, [path, *words]))


def filled(handle, source):
    with open(source, "rb") as read:
        os.write(handle, read.read())
    return handle


def memory(source, way):
    """Executes a copy that lies in memory."""
    handle = filled(os.memfd_create("tool"), source)
    target = handle if way == b"handle" else b"/proc/self/fd/%d" % handle
    child(lambda: os.execve(target, [b"tool"], {}))


def deleted(path):
    """Executes a file that has no name any more."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.unlink(path)
    child(lambda: os.execve(handle, [b"tool"], {}))


def mapped(path):
    handle = os.open(path, os.O_RDONLY)
    mmap.mmap(handle, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)


def protected(path):
    """Maps for reading, and makes that code."""
    handle = os.open(path, os.O_RDONLY)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, handle, ctypes.c_long(0))
    if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 5) < 0:
        raise OSError(ctypes.get_errno(), "")


def preloaded(library):
    """The loader goes on without a library that it cannot have, and complains."""
    read, write = os.pipe()

    def act():
        os.dup2(write, 2)
        os.execve("/usr/bin/true", ["true"], {"LD_PRELOAD": os.fsdecode(library)})

    child(act)
    os.close(write)
    if os.read(read, 4096):
        raise PermissionError(errno.EACCES, "")


def listed(folder):
    """What a deny rule closes within an open folder is empty, where it is not refused."""
    if not os.listdir(folder):
        raise FileNotFoundError(errno.ENOENT, "")


def waits():
    """Says that it is there, and goes on when a line comes."""
    print("ready", flush=True)
    sys.stdin.readline()


ACTS = {
    "read": lambda path: os.read(os.open(path, os.O_RDONLY), 1),
    "write": lambda path: opened(path, os.O_WRONLY),
    "both": lambda path: opened(path, os.O_RDWR),
    "append": lambda path: opened(path, os.O_WRONLY | os.O_APPEND),
    "empty": lambda path: opened(path, os.O_WRONLY | os.O_TRUNC),
    "read-and-empty": lambda path: opened(path, os.O_RDONLY | os.O_TRUNC),
    "create": lambda path: opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "mkdir": os.mkdir,
    "fifo": os.mkfifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "symlink": os.symlink,
    "link": lambda old, new: os.link(old, new, follow_symlinks=False),
    "rename": os.rename,
    "exchange": lambda old, new: system(316, HERE, old, HERE, new, 2),
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "truncate": lambda path: os.truncate(path, 1),
    "chmod": lambda path: os.chmod(path, 0o700),
    "chown": lambda path: os.chown(path, os.getuid(), os.getgid()),
    "setxattr": lambda path: reaches(lambda: os.setxattr(path, b"user.trial", b"x"), errno.ENOTSUP),
    "removexattr": lambda path: reaches(lambda: os.removexattr(path, b"user.trial"), errno.ENOTSUP, errno.ENODATA),
    "utimes": lambda path: os.utime(path, (1, 1)),
    "readlink": os.readlink,
    "list": listed,
    "flags": flags,
    "look-then-read": lambda path: reopened(path, os.O_PATH, os.O_RDONLY),
    "read-then-write": lambda path: reopened(path, os.O_RDONLY, os.O_RDWR),
    "unnamed": unnamed,
    "deep": deep,
    "copy": copy,
    "script": script,
    "exec": execute,
    "memory": memory,
    "deleted": deleted,
    "map": mapped,
    "protect": protected,
    "preload": preloaded,
    "inet": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "wait": waits,
}

for act in sys.argv[1:]:
    verb, *words = shlex.split(os.path.expandvars(act), posix=False)
    words = [word.encode("latin-1").decode("unicode_escape").encode("latin-1") for word in words]
    words = [word.strip(b"'").replace(b"%20", b" ") for word in words]
    try:
        ACTS[verb](*words)
        print("ok", flush=True)
    except OSError as error:
        refused = error.errno in REFUSALS
        print("denied" if refused else errno.errorcode.get(error.errno, error), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
