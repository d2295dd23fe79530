"""Tries to reach Unix sockets and says how each act ended, a line each: `ok`, `denied`, or the errno's name."""

import ctypes, errno, os, socket, struct, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
SECONDS = 5
ROUNDS = 60


def name(path):
    return b"\0" + path[1:].encode() if path.startswith("@") else path


def heard(made, of=b"x"):
    """Whoever is there says what it has got."""
    made.settimeout(SECONDS)
    made.send(of)
    if made.recv(1) != of:
        raise OSError(errno.EIO, "")


def stream(path):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(name(path))
    heard(made)


def impatient(path):
    """Without waiting."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    made.connect(name(path))
    made.setblocking(True)
    heard(made)


def relative(directory, path):
    os.chdir(directory)
    stream(path)


def datagram(path):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.connect(name(path))
    made.send(b"x")


def named(path):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.sendto(b"x", name(path))


def message(path):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.sendmsg([b"x"], [], 0, name(path))


def by_descriptor(path):
    """The directory by a link into the process."""
    directory = os.open(os.path.dirname(path), os.O_PATH)
    stream(f"/proc/self/fd/{directory}/{os.path.basename(path)}")


def by_root(path):
    stream("/proc/self/root" + path)


def own(path):
    """One of the fence's own."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(name(path))
    server.listen()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(name(path))
    other, _ = server.accept()
    other.send(b"x")
    if made.recv(1) != b"x":
        raise OSError(errno.EIO, "")


def again(path):
    """A socket that is connected is not connected again."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(name(path))
    made.connect(name(path))


def foreign(path):
    """The address of another family's socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address = struct.pack("=HH", 2, 0) + bytes(12)
    if libc.connect(made.fileno(), address, len(address)) < 0:
        raise OSError(ctypes.get_errno(), "")


def seen(path):
    """What the peer is told of who connects."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(path)
    heard(made, b"w")
    print(made.recv(100).decode(), end=" ", flush=True)


def until(stop, work):
    def loop():
        while not stop.is_set():
            work()
    thread = threading.Thread(target=loop)
    thread.start()
    return thread


def contest(change, attempt):
    """`attempt` again and again, while another thread makes `change` as often as it can."""
    stop = threading.Event()
    thread = until(stop, change)
    for _ in range(ROUNDS):
        try:
            attempt()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISCONN, errno.EAFNOSUPPORT,
                                   errno.EINVAL, errno.EBADF, errno.ENOTSOCK, errno.ECONNREFUSED):
                raise
    stop.set()
    thread.join()


def swapped_link(link, path, shut):
    """The link leads now here, now there."""
    def change():
        for target in (path, shut):
            new = link + ".new"
            try:
                os.symlink(target, new)
                os.rename(new, link)
            except OSError:
                pass
    def attempt():
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(link)
    contest(change, attempt)


def swapped_address(path, shut):
    """The address is another one by the time that it is looked at again."""
    held = ctypes.create_string_buffer(110)
    addresses = [struct.pack("=H", 1) + one.encode().ljust(108, b"\0") for one in (path, shut)]
    def change():
        for address in addresses:
            ctypes.memmove(held, address, 110)
    def attempt():
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if libc.connect(made.fileno(), held, 110) < 0:
            raise OSError(ctypes.get_errno(), "")
    contest(change, attempt)


def swapped_socket(path, shut):
    """The descriptor is another socket's by the time that it is taken, and that one is on its way elsewhere."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    number = held.fileno()
    address = [struct.pack("=H", 1) + one.encode() + b"\0" for one in (path, shut)]
    def change():
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.dup2(other.fileno(), number)
        libc.connect(other.fileno(), address[1], len(address[1]))
        other.close()
    def attempt():
        if libc.connect(number, address[0], len(address[0])) < 0:
            raise OSError(ctypes.get_errno(), "")
    contest(change, attempt)


def crowd(full, path):
    """Those who wait for somebody without room keep nobody else waiting."""
    stuck = []
    for _ in range(4):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        thread = threading.Thread(target=lambda made=made: libc.connect(made.fileno(), struct.pack("=H", 1) + full.encode() + b"\0", 3 + len(full)), daemon=True)
        thread.start()
        stuck.append(thread)
    for _ in range(5):
        stream(path)
    if not any(thread.is_alive() for thread in stuck):
        raise OSError(errno.EIO, "")


def orphaned(folder, path):
    """Says that it is there, waits until it is told to go on, and says how it ended."""
    def say(name, text):
        with open(f"{folder}/{name}.new", "w") as file:
            file.write(text)
        os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
    say("ready", "")
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.02)
    try:
        stream(path)
        say("end", "ok")
    except OSError as error:
        say("end", errno.errorcode[error.errno])


ACTS = {name.replace("_", "-"): act for name, act in list(globals().items()) if callable(act)}

for act in sys.argv[1:]:
    verb, *words = act.split()
    try:
        ACTS[verb](*words)
        print("ok", flush=True)
    except TimeoutError:
        print("silence", flush=True)
    except OSError as error:
        refused = error.errno in (errno.EACCES, errno.EPERM)
        print("denied" if refused else errno.errorcode.get(error.errno, error), flush=True)
# Threads that wait for ever are not waited for.
os._exit(0)
