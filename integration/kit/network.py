"""What lies outside of the fences of resolver.rs: a name server and a web server, in a network of their own.

network.py DIRECTORY: serves the files of DIRECTORY on port 8080 of every address, by TLS on
port 8443 if there is a cert.pem, and names on 127.0.0.53:53. What it is
asked is written to DIRECTORY/asked, and DIRECTORY/ready is there once both listen.
Where a directory for them is there, the sockets of services that look up names are too: who comes there, and where, is written to DIRECTORY/called.
"""

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import socket
import ssl
import struct
import sys
import tarfile
import threading
import zipfile

# Public addresses, which the test gives to the loopback device of its own network namespace.
ZONE = {
    b"web.test": ["93.184.215.80"],
    b"cdn.test": ["93.184.215.80"],
    b"other.test": ["93.184.215.81"],
    b"inside.test": ["127.0.0.1"],
    b"metadata.test": ["169.254.169.254"],
    b"both.test": ["10.0.0.1", "93.184.215.80"],
}


def name_and_type(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]])
        at += query[at] + 1
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    return b".".join(labels).lower(), kind, query[12 : at + 5]


def answered(query, log):
    name, kind, question = name_and_type(query)
    log.write(name.decode() + "\n")
    log.flush()
    addresses = ZONE.get(name, []) if kind == 1 else []
    records = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) + socket.inet_aton(address) for address in addresses
    )
    code = 0x8180 if name in ZONE else 0x8183
    return query[:2] + struct.pack(">HHHHH", code, 1, len(addresses), 0, 0) + question + records


def names(server, log):
    while True:
        query, peer = server.recvfrom(4096)
        server.sendto(answered(query, log), peer)


def put(directory, name, content):
    path = os.path.join(directory, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def files(directory):
    put(directory, "hello", b"hello from outside\n")
    put(directory, "repo.git/HEAD", b"ref: refs/heads/main\n")
    put(directory, "repo.git/info/refs", b"1234567890123456789012345678901234567890\trefs/heads/main\n")
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    put(directory, "files/tiny-1.0-py3-none-any.whl", wheel.getvalue())
    link = b'<a href="http://cdn.test:8080/files/tiny-1.0-py3-none-any.whl">tiny-1.0-py3-none-any.whl</a>'
    put(directory, "simple/tiny/index.html", b"<!DOCTYPE html><html><body>" + link + b"</body></html>")


def registry(directory):
    """For npm: one package, whose file lies elsewhere."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        content = b'{"name": "tiny", "version": "1.0.0"}'
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    put(directory, "npm/tiny-1.0.0.tgz", tar.getvalue())
    digest = base64.b64encode(hashlib.sha512(tar.getvalue()).digest()).decode()
    file = {"tarball": "http://cdn.test:8080/npm/tiny-1.0.0.tgz", "integrity": "sha512-" + digest}
    version = {"name": "tiny", "version": "1.0.0", "dist": file}
    put(directory, "tiny", json.dumps({"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}).encode())


def member(name, content):
    """A file in an ar(5) archive."""
    head = "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n".format(name, 0, 0, 0, "100644", len(content))
    return head.encode() + content + b"\n" * (len(content) % 2)


def packed(files):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return tar.getvalue()


def mirror(directory):
    """For apt: an index, and its one package (deb(5))."""
    fields = ["Package: tiny", "Version: 1.0", "Architecture: all", "Maintainer: nobody", "Description: from the mirror"]
    control = packed({"./control": "\n".join(fields).encode() + b"\n"})
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", packed({"./usr/share/tiny": b"tiny\n"}))]
    package = b"!<arch>\n" + b"".join(member(name, content) for name, content in parts)
    put(directory, "debian/tiny.deb", package)
    fields += ["Filename: tiny.deb", "Size: %d" % len(package), "SHA256: " + hashlib.sha256(package).hexdigest()]
    put(directory, "debian/Packages", "\n".join(fields).encode() + b"\n")


def serve_names_locally(path, log):
    """A service that answers nothing, but says which program has come."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen()
    while True:
        friend, _ = server.accept()
        process, _, _ = struct.unpack("=iII", friend.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            with open(f"/proc/{process}/comm") as name:
                program = name.read().strip()
        except OSError:
            program = "gone"
        if process != os.getpid():
            log.write(f"{program} {path}\n")
            log.flush()
        friend.close()


def main(directory):
    called = open(os.path.join(directory, "called"), "w")
    for path in ("/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"):
        if os.path.isdir(os.path.dirname(path)) and not os.path.exists(path):
            threading.Thread(target=serve_names_locally, args=(path, called), daemon=True).start()
    files(directory)
    registry(directory)
    mirror(directory)
    log = open(os.path.join(directory, "asked"), "w")
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.53", 53))
    threading.Thread(target=names, args=(server, log), daemon=True).start()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    web = http.server.ThreadingHTTPServer(("", 8080), handler)
    if os.path.exists("cert.pem"):
        secure = http.server.ThreadingHTTPServer(("", 8443), handler)
        keys = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        keys.load_cert_chain("cert.pem", "key.pem")
        secure.socket = keys.wrap_socket(secure.socket, server_side=True)
        threading.Thread(target=secure.serve_forever, daemon=True).start()
    put(directory, "ready", b"")
    web.serve_forever()


main(sys.argv[1])
