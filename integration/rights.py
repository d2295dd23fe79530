"""Who may read `secret`, and what it takes to get other rights; a line for each claim.

Run in a fence in which the scripts `tool` and `broken` are programs with rights of their own, among them to read `secret`.
"""

import ctypes, errno, os, signal, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
HERE = sys.argv[1]
REFUSALS = {errno.EACCES, errno.EPERM}


def at(name):
    return os.path.join(HERE, name)


def ended(act):
    try:
        return act() or "ok"
    except OSError as error:
        return "denied" if error.errno in REFUSALS else errno.errorcode[error.errno]


def secret():
    with open(at("secret")) as file:
        file.read()


def tool(*words, **more):
    return subprocess.run([at("tool"), *words], capture_output=True, text=True, **more).stdout.strip()


def in_child(act):
    """What the act ended with in a child that is gone afterwards."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, ended(act).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    return os.read(read, 100).decode()


def failed_exec():
    """An exec that fails after it has been allowed leaves the old rights, to this thread and to others."""
    found = []
    try:
        os.execv(at("broken"), ["broken"])
    except OSError as error:
        found.append(errno.errorcode[error.errno])
    found.append(ended(secret))
    thread = threading.Thread(target=lambda: found.append(ended(secret)))
    thread.start()
    thread.join()
    return " ".join(found)


def traced():
    """A task that is traced does not enter."""
    libc.ptrace(0, 0, 0, 0)
    os.execv(at("tool"), ["tool", "cat", at("secret")])


def tracing():
    """And one that has entered is not traced."""
    child = subprocess.Popen([at("tool"), "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE)
    child.stdout.readline()
    attached = libc.ptrace(16, child.pid, 0, 0)
    code = ctypes.get_errno()
    # Signals go where they went before: it is the same fence.
    child.kill()
    child.wait()
    if attached < 0:
        raise OSError(code, "")


libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
print("at large:", ended(secret))
print("the tool:", tool("cat", at("secret")))
print("what it starts:", tool("sh", "-c", 'sh -c "cat $0" | cat', at("secret")))
print("what it may not:", tool("sh", "-c", "cat $0 2>/dev/null || echo denied", at("common")))
print("at large again:", ended(secret), ended(lambda: open(at("common")).close()))
print("after an exec that failed:", in_child(failed_exec))
print("traced:", in_child(traced))
print("tracing:", ended(tracing))
