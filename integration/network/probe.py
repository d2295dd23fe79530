"""Tries acts with sockets and says how each ended, a line each: `ok`, `denied`, or what else happened."""

import ctypes, errno, mmap, os, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
SECONDS = 3
FAST_OPEN = 0x20000000


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def stream(family):
    made = socket.socket(family, socket.SOCK_STREAM)
    made.settimeout(SECONDS)
    return made


def datagram(family=socket.AF_INET):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(SECONDS)
    return made


def heard(made):
    """The other side has answered with what it got."""
    made.send(b"x")
    if made.recv(1) != b"x":
        raise OSError(errno.EIO, "")


def tcp(address, port):
    made = stream(family_of(address))
    made.connect((address, int(port)))
    heard(made)


def mapped(address, port):
    made = stream(socket.AF_INET6)
    made.connect(("::ffff:" + address, int(port)))
    heard(made)


def fast_open(address, port):
    made = stream(family_of(address))
    made.settimeout(None)
    made.sendto(b"x", FAST_OPEN, (address, int(port)))
    if made.recv(1) != b"x":
        raise OSError(errno.EIO, "")


def fast_open_connect(address, port):
    made = stream(family_of(address))
    made.setsockopt(socket.IPPROTO_TCP, 30, 1)
    made.connect((address, int(port)))
    heard(made)


def multipath(address, port):
    made = socket.socket(family_of(address), socket.SOCK_STREAM, 262)
    made.settimeout(SECONDS)
    made.connect((address, int(port)))
    heard(made)


def repaired(address, port):
    """It counts as connected without a packet."""
    made = stream(family_of(address))
    made.setsockopt(socket.IPPROTO_TCP, 19, 1)
    made.connect((address, int(port)))


def by_device(address, port):
    """Whatever the routes say."""
    made = stream(family_of(address))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    made.connect((address, int(port)))
    heard(made)


def transparent(address, port):
    """Binds an address that is not the host's."""
    made = stream(socket.AF_INET)
    made.setsockopt(socket.SOL_IP, 19, 1)
    made.bind((address, int(port)))


def asynchronous(address, port):
    """Not blocking: the answer to the connection comes later."""
    made = stream(family_of(address))
    made.setblocking(False)
    code = made.connect_ex((address, int(port)))
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, "")


def echoed(made, address, port):
    made.sendto(b"x", (address, int(port)))
    if made.recv(1) != b"x":
        raise OSError(errno.EIO, "")


def udp(address, port):
    echoed(datagram(family_of(address)), address, port)


def group(address, port):
    """Whoever listens to that group on the link, and answers in his own name."""
    made = datagram(family_of(address))
    index = socket.if_nametoindex("near")
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        made.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF, struct.pack("=IIi", 0, 0, index))
    echoed(made, address, port)


def says(address, port):
    """To whom need not be there."""
    datagram(family_of(address)).sendto(b"x", (address, int(port)))


def udp_mapped(address, port):
    echoed(datagram(socket.AF_INET6), "::ffff:" + address, port)


def udp_connected(address, port):
    made = datagram(family_of(address))
    made.connect((address, int(port)))
    heard(made)


def udp_other(address, first, other):
    """Connected to one, it sends to another."""
    made = datagram(family_of(address))
    made.connect((address, int(first)))
    heard(made)
    made.sendto(b"x", (address, int(other)))


def udp_again(address, first, other):
    """Connected to one, disconnected, connected to another."""
    made = datagram(family_of(address))
    made.connect((address, int(first)))
    heard(made)
    if libc.connect(made.fileno(), struct.pack("=HHI8x", 0, 0, 0), 16) < 0:
        raise OSError(ctypes.get_errno(), "")
    made.connect((address, int(other)))
    heard(made)


def udp_unspecified(address, port):
    """The name has no family: a socket of IPv4 takes it for one of its own."""
    name = struct.pack("=H", 0) + struct.pack(">H", int(port)) + socket.inet_aton(address) + bytes(8)
    made = datagram()
    if libc.sendto(made.fileno(), b"x", 1, 0, name, 16) < 0:
        raise OSError(ctypes.get_errno(), "")
    if made.recv(1) != b"x":
        raise OSError(errno.EIO, "")


class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("name_length", ctypes.c_uint),
        ("parts", ctypes.POINTER(Part)), ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Sent(ctypes.Structure):
    _fields_ = [("message", Message), ("sent", ctypes.c_uint)]


def udp_many(address, first, other):
    """Two messages at once, of which the second goes elsewhere."""
    made = datagram()
    part = Part(b"x", 1)
    messages = (Sent * 2)()
    for message, port in zip((sent.message for sent in messages), (first, other)):
        name = struct.pack("=H", 2) + struct.pack(">H", int(port)) + socket.inet_aton(address) + bytes(8)
        message.name, message.name_length = name, 16
        message.parts, message.part_count = ctypes.pointer(part), 1
    sent = libc.sendmmsg(made.fileno(), messages, 2, 0)
    if sent < 0:
        raise OSError(ctypes.get_errno(), "")
    if sent < 2:
        raise OSError(errno.EPERM, "")


class Ring:
    """An io_uring of one entry."""

    def __init__(self):
        parameters = ctypes.create_string_buffer(120)
        self.handle = libc.syscall(425, 1, parameters)
        if self.handle < 0:
            raise OSError(ctypes.get_errno(), "")
        self.submission = struct.unpack_from("=10I", parameters, 40)
        self.completion = struct.unpack_from("=10I", parameters, 80)
        self.rings = mmap.mmap(self.handle, 4096)
        self.entries = mmap.mmap(self.handle, 4096, offset=0x10000000)

    def does(self, operation, handle, address=0, length=0, offset=0):
        """Does one thing and waits for its end."""
        self.entries[:64] = struct.pack("=BBHiQQI36x", operation, 0, 0, handle, offset, address, length)
        tail, array, head, results = self.submission[1], self.submission[6], self.completion[0], self.completion[5]
        self.rings[array : array + 4] = struct.pack("=I", 0)
        (count,) = struct.unpack_from("=I", self.rings, tail)
        struct.pack_into("=I", self.rings, tail, count + 1)
        if libc.syscall(426, self.handle, 1, 1, 1, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "")
        (seen,) = struct.unpack_from("=I", self.rings, head)
        mask = struct.unpack_from("=I", self.rings, self.completion[2])[0]
        (result,) = struct.unpack_from("=i", self.rings, results + (seen & mask) * 16 + 8)
        struct.pack_into("=I", self.rings, head, seen + 1)
        if result < 0:
            raise OSError(-result, "")
        return result


def named(address, port):
    """A `struct sockaddr_in`."""
    return struct.pack("=H", 2) + struct.pack(">H", int(port)) + socket.inet_aton(address) + bytes(8)


def ring_connect(address, port):
    """No system call connects."""
    made = stream(socket.AF_INET)
    made.settimeout(None)
    name = ctypes.create_string_buffer(named(address, port), 16)
    Ring().does(16, made.fileno(), ctypes.addressof(name), 0, 16)
    made.settimeout(SECONDS)
    heard(made)


def ring_send(address, port):
    """No system call sends."""
    made = datagram()
    part = Part(b"x", 1)
    message = Message()
    message.name, message.name_length = named(address, port), 16
    message.parts, message.part_count = ctypes.pointer(part), 1
    Ring().does(9, made.fileno(), ctypes.addressof(message), 1)
    if made.recv(1) != b"x":
        raise OSError(errno.EIO, "")


def ping(address):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    made.settimeout(SECONDS)
    made.sendto(struct.pack(">BBHHH", 8, 0, 0xf7fd, 1, 1), (address, 0))
    made.recv(100)


def from_own_port(address, port):
    """A client that lets its address be chosen first."""
    made = stream(socket.AF_INET)
    made.bind(("127.0.0.1", 0))
    made.connect((address, int(port)))
    heard(made)


def listens(address, port):
    made = stream(family_of(address))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, int(port)))
    made.listen()


def listens_unbound():
    stream(socket.AF_INET).listen()


def binds(address, port):
    datagram(family_of(address)).bind((address, int(port)))


def serves(address, port):
    """Says where it listens, and answers who comes."""
    made = stream(family_of(address))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, int(port)))
    made.listen()
    print("ready", made.getsockname()[1], flush=True)
    other, _ = made.accept()
    other.sendall(other.recv(1))


def answers(address, port):
    """The same with datagrams."""
    made = datagram(family_of(address))
    made.bind((address, int(port)))
    print("ready", made.getsockname()[1], flush=True)
    content, other = made.recvfrom(1)
    made.sendto(content, other)


def sends_from(address, port, own):
    """From a port that was asked for."""
    made = datagram()
    made.bind(("127.0.0.1", int(own)))
    echoed(made, address, port)


def is_alone(address, port):
    """Nothing comes to a port that the kernel has chosen but from who was sent to."""
    made = datagram()
    made.bind((address, 0))
    print("ready", made.getsockname()[1], flush=True)
    made.recv(1)


def kind(family, kind, protocol):
    socket.socket(int(family), int(kind), int(protocol)).close()


def unix(path, way="stream"):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if way == "stream" else socket.SOCK_DGRAM)
    made.settimeout(SECONDS)
    name = b"\0" + path[1:].encode() if path.startswith("@") else path
    if way == "send":
        made.sendto(b"x", name)
    else:
        made.connect(name)


def ring_unix(path):
    """No system call connects."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = struct.pack("=H", 1) + (b"\0" + path[1:].encode() if path.startswith("@") else path.encode() + b"\0")
    held = ctypes.create_string_buffer(name, len(name))
    Ring().does(16, made.fileno(), ctypes.addressof(held), 0, len(name))


def unix_pair():
    """Two ends that are connected already."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.send(b"x")
    if other.recv(1) != b"x":
        raise OSError(errno.EIO, "")


def unix_own(path):
    """One of this fence's own."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(b"\0" + path[1:].encode() if path.startswith("@") else path)
    server.listen()
    unix(path)


def received(path):
    """A connected socket of somebody outside."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(path)
    _, handles, _, _ = socket.recv_fds(made, 1, 1)
    if not handles:
        raise OSError(errno.EACCES, "")
    os.write(handles[0], b"x")


def passed():
    """A socket of the fence's own, from one task to another."""
    one, other = socket.socketpair()
    gift = stream(socket.AF_INET)
    socket.send_fds(one, [b"x"], [gift.fileno()])
    _, handles, _, _ = socket.recv_fds(other, 1, 1)
    if not handles:
        raise OSError(errno.EACCES, "")


def query(server, port, way="udp"):
    """A query to a name server, which answers with what it got from where it was sent."""
    made = datagram(family_of(server)) if way != "tcp" else stream(family_of(server))
    if way == "udp":
        made.sendto(b"q", (server, int(port)))
        content, sender = made.recvfrom(9)
        if sender[0] != server or sender[1] != int(port):
            raise RuntimeError("from %s %s" % sender[:2])
    else:
        made.connect((server, int(port)))
        if made.getpeername()[:2] != (server, int(port)):
            raise RuntimeError("peer %s %s" % made.getpeername()[:2])
        made.send(b"q")
        content = made.recv(9)
    if content != b"resolver":
        raise RuntimeError("answer %r" % content)


def inherited(number, address, port):
    """A socket that was there before."""
    made = socket.socket(fileno=int(number))
    made.settimeout(SECONDS)
    made.connect((address, int(port)))
    heard(made)


def numbered(content, length=2):
    return len(content).to_bytes(length, "big") + content


def extension(kind, content):
    return kind.to_bytes(2, "big") + numbered(content)


def hello(name, records=1):
    """A TLS greeting that says `name`; `-` is none. The name comes behind as much as the largest of clients put before it."""
    extensions = extension(51, bytes(1200)) + extension(16, b"\0\3\2h2")
    if name != "-":
        extensions += extension(0, numbered(b"\0" + numbered(name.encode())))
    extensions += extension(43, b"\4\3\4\3\3")
    body = b"\3\3" + bytes(32) + numbered(bytes(32), 1) + numbered(b"\x13\1\x13\2") + numbered(b"\0", 1) + numbered(extensions)
    body = b"\1" + numbered(body, 3)
    cut = len(body) if records == 1 else len(body) // 2
    return b"".join(b"\x16\3\1" + numbered(part) for part in (body[:cut], body[cut:]) if part)


def greets(address, port, name, way="whole"):
    """A connection that begins as one of TLS does, or otherwise."""
    made = socket.socket(family_of(address), socket.SOCK_STREAM, 262 if way == "multipath" else 0)
    made.settimeout(1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    content = hello(name, 2 if way == "records" else 1) if way != "plain" else b"GET /"
    if way == "behind":
        # The record that changes ciphers: GnuTLS 3.7.9 reads the greeting that comes after it.
        content = b"\x14\3\1\0\1\1" + content
    if way == "again":
        made.connect((address, int(port)))
        made.send(hello("allowed.test"))
        made.recv(1)
        if libc.connect(made.fileno(), struct.pack("=HHI8x", 0, 0, 0), 16) < 0:
            raise OSError(ctypes.get_errno(), "")
    if way == "fast-open":
        made.settimeout(None)
        made.sendto(content, FAST_OPEN, (address, int(port)))
        made.settimeout(1)
    else:
        made.connect((address, int(port)))
        if way == "urgent":
            made.send(b"x", socket.MSG_OOB)
        pieces = {"bytes": [content[:1], content[1:2], content[2:]], "halves": [content[:700], content[700:]]}
        for piece in pieces.get(way, [content]):
            try:
                made.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                # Without a fence the server has answered the first piece, and is gone.
                break
    # The server goes away from whom it does not hear.
    answer = made.recv(1)
    if answer != content[:1]:
        raise OSError(errno.EIO, "") if answer else TimeoutError


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
    except RuntimeError as error:
        print(error, flush=True)
