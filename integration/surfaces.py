"""Tries ways into the kernel and to other tasks, and says how each ended, a line each: `ok`, `denied`, or the error.

An act is an argument: a verb and its words. Whatever an act changes, it changes in a child with mounts of its own.
"""

import ctypes, errno, fcntl, os, signal, socket, struct, sys, time

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
REFUSALS = {errno.EACCES, errno.EPERM}
# Numbers of x86-64.
SHMGET, SHMCTL, SEMGET, MSGGET, MSGSND, UNSHARE = 29, 31, 64, 68, 69, 272
NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000


def system(number, *words):
    words = [word if isinstance(word, (bytes, ctypes.Array)) else ctypes.c_long(word) for word in words]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def alone(act):
    """In a child with mounts of its own; its error, if it has one, is the act's."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            system(UNSHARE, NEW_MOUNTS)
            if libc.mount(b"none", b"/", None, 0x44000, None) < 0:
                # Where mounting is closed, nothing can come through either.
                pass
            act()
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "")


def checked(result):
    if result is not None and result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def mount():
    checked(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None))


def made_by_parts():
    """fsopen, fsconfig(CREATE): a file system that is mounted nowhere yet."""
    handle = system(430, b"tmpfs", 0)
    system(431, handle, 6, 0, 0, 0)


def moved():
    """A copy of a mount, put in place."""
    handle = system(428, -100, b"/mnt", 1)
    system(429, handle, b"", -100, b"/mnt", 4)


def pivoted():
    checked(libc.mount(b"/mnt", b"/mnt", None, 0x1000, None))
    os.chdir("/mnt")
    system(155, b".", b".")


def image(number):
    """A module that is none: init_module from memory, finit_module from a file."""
    if number == 175:
        system(175, bytes(256), 256, b"")
    else:
        handle = os.memfd_create("module")
        os.write(handle, bytes(256))
        system(313, handle, b"", 0)


def key():
    system(248, b"user", b"ringfence-trial", b"x", 1, -2)


def clock():
    now = time.time_ns()
    system(227, 0, struct.pack("qq", now // 10**9, now % 10**9))


def event():
    """A software event that counts nothing, of this task."""
    attributes = bytearray(128)
    struct.pack_into("IIQ", attributes, 0, 1, 128, 9)
    system(298, bytes(attributes), 0, -1, -1, 0)


def map_by_number():
    """The first map that there is: its number, then a descriptor of it."""
    found = ctypes.create_string_buffer(128)
    system(321, 12, found, 128)
    number = struct.unpack_from("I", found, 4)[0]
    system(321, 14, struct.pack("I", number) + bytes(124), 128)


def device():
    """A network device of this process's own."""
    handle = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(handle, 0x400454CA, struct.pack("16sH22x", b"", 0x1002))
    os.close(handle)


def ring():
    system(425, 4, ctypes.create_string_buffer(120))


def own_objects():
    """One of each kind, made, used and removed."""
    memory = system(SHMGET, 0, 4096, 0o1600)
    if libc.shmat(memory, None, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "")
    system(SHMCTL, memory, 0, 0)
    queue = system(MSGGET, 0, 0o1600)
    system(MSGSND, queue, struct.pack("q8s", 1, b"text"), 8, 0)
    system(71, queue, 0, 0)
    semaphores = system(SEMGET, 0, 1, 0o1600)
    system(66, semaphores, 0, 0, 0)


def signals_go_to(owner):
    """The owner gets SIGKILL when a byte comes."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, int(owner))
    fcntl.fcntl(one, 10, signal.SIGKILL)
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")


def signals_by_pointer(owner):
    one, other = socket.socketpair()
    fcntl.fcntl(one, 15, struct.pack("ii", 1, int(owner)))
    fcntl.fcntl(one, 10, signal.SIGKILL)
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")


def signals_by_control(owner):
    one, other = socket.socketpair()
    fcntl.ioctl(one, 0x8901, struct.pack("i", int(owner)))
    fcntl.fcntl(one, 10, signal.SIGKILL)
    fcntl.ioctl(one, 0x5452, struct.pack("i", 1))
    other.send(b"x")


def own_signals():
    """The way of event loops: this process is told."""
    told = []
    signal.signal(signal.SIGIO, lambda *_: told.append(1))
    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")
    if not told:
        raise RuntimeError("no signal came")


def opened(path, flags):
    os.close(os.open(path, flags))


def removed(folder):
    """The first entry of a folder goes."""
    os.unlink(os.path.join(folder, sorted(os.listdir(folder))[0]))


def queue(name, flags):
    checked(libc.mq_open(b"/" + name.encode(), flags, 0o600, None))


ACTS = {
    "userns": lambda: alone(lambda: system(UNSHARE, NEW_USER)),
    "mount": lambda: alone(mount),
    "unmount": lambda: alone(lambda: checked(libc.umount2(b"/proc", 2))),
    "remount": lambda: alone(lambda: checked(libc.mount(None, b"/tmp", None, 32, b"size=50%"))),
    "by-parts": lambda: alone(made_by_parts),
    "move": lambda: alone(moved),
    "pivot": lambda: alone(pivoted),
    "chroot": lambda: alone(lambda: os.chroot("/")),
    "bpf-map": lambda: system(321, 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(112), 128),
    "bpf-by-number": map_by_number,
    "perf": event,
    "module-memory": lambda: image(175),
    "module-file": lambda: image(313),
    "key": key,
    "clock": clock,
    "log": lambda: system(103, 10, 0, 0),
    "quota": lambda: system(179, 0x800001 << 8, 0, 0, 0),
    "ring": ring,
    "device": device,
    "page-faults": lambda: system(323, 0),
    "host-name": lambda: system(170, b"ringfence", 9),
    "inet": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "device-events": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15),
    "pair": socket.socketpair,
    "nice": lambda pid: os.setpriority(os.PRIO_PROCESS, int(pid), 5),
    "affinity": lambda pid: os.sched_setaffinity(int(pid), [0]),
    "io-priority": lambda pid: system(251, 1, int(pid), 2 << 13 | 4),
    "limit": lambda pid: system(302, int(pid), 7, struct.pack("QQ", 64, 64), 0),
    "move-pages": lambda pid: system(279, int(pid), 0, 0, 0, 0, 0),
    "kill": lambda pid: os.kill(int(pid), signal.SIGKILL),
    "signals-to": signals_go_to,
    "signals-by-pointer-to": signals_by_pointer,
    "signals-by-control-to": signals_by_control,
    "own-signals": own_signals,
    "ipc": own_objects,
    "memory-at": lambda key: system(SHMGET, int(key), 0, 0),
    "memory-attach": lambda key: checked(-1 if libc.shmat(int(key), None, 0) == ctypes.c_void_p(-1).value else 0),
    "memory-remove": lambda key: system(SHMCTL, int(key), 0, 0),
    "memory-make": lambda key: system(SHMGET, int(key), 4096, 0o1666),
    "queue-make": lambda name: queue(name, os.O_CREAT | os.O_RDWR),
    "queue-open": lambda name: queue(name, os.O_RDWR),
    "queue-remove": lambda name: checked(libc.mq_unlink(b"/" + name.encode())),
    "write": lambda path: opened(path, os.O_WRONLY),
    "read": lambda path: opened(path, os.O_RDONLY),
    "mkdir": lambda path: os.mkdir(path),
    "rmdir": lambda path: os.rmdir(path),
    "chmod": lambda path: os.chmod(path, 0o600),
    "unlink-in": removed,
}

for act in sys.argv[1:]:
    verb, *words = act.split()
    try:
        ACTS[verb](*words)
        print("ok", flush=True)
    except OSError as error:
        print("denied" if error.errno in REFUSALS else errno.errorcode.get(error.errno, error), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
