"""Many fences, one after the other, at once and against each other; says what it tried, what grew and what was lost.

Argument: seconds for each of the two phases that can go on for ever; 0 for the short form. The folder is the working directory, and
/run is this script's own.
"""

import ctypes
import glob
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

BINARY = os.environ["R"]
SECONDS = float(sys.argv[1])
SHORT = SECONDS == 0
BPF = 321
OBJECT_GET, NEXT_KEY, OBJECT_INFO = 7, 4, 15
# Tries what no rule allows.
PROBE = "cat /etc/shadow > /dev/null 2>&1 && exit 99; exit 0"
library = ctypes.CDLL(None, use_errno=True)
wrong = []


def say(text):
    print(text, flush=True)


def claim(holds, text):
    if not holds:
        wrong.append(text)
        say(f"WRONG: {text}")


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    answer = library.syscall(BPF, command, buffer, 128)
    return answer, ctypes.get_errno()


def entries():
    """How many entries each pinned map has, arrays apart."""
    found = {}
    for path in sorted(glob.glob("/run/ringfence/bpf/*/map_*")):
        name = ctypes.create_string_buffer(path.encode())
        descriptor, error = bpf(OBJECT_GET, ctypes.addressof(name).to_bytes(8, "little"))
        assert descriptor >= 0, (path, os.strerror(error))
        info = ctypes.create_string_buffer(80)
        bpf(OBJECT_INFO, descriptor.to_bytes(4, "little") + (80).to_bytes(4, "little") + ctypes.addressof(info).to_bytes(8, "little"))
        kind, key_size = (int.from_bytes(info.raw[at:at + 4], "little") for at in (0, 8))
        # Arrays have all their entries from the start; rings and storages have none of this kind.
        if kind not in (2, 6, 27, 19, 21, 29, 31, 32):
            key, following, count = None, ctypes.create_string_buffer(max(key_size, 8)), 0
            while True:
                address = ctypes.addressof(key) if key is not None else 0
                words = [descriptor, address, ctypes.addressof(following)]
                answer, _ = bpf(NEXT_KEY, b"".join(word.to_bytes(8, "little") for word in words))
                if answer != 0:
                    break
                count += 1
                key = ctypes.create_string_buffer(following.raw, len(following))
            found["/".join(path.split("/")[-2:])] = count
        os.close(descriptor)
    return found


def memory():
    lines = dict(line.split(":") for line in open("/proc/meminfo"))
    return {name: int(lines[name].split()[0]) for name in ("Slab", "Percpu", "VmallocUsed")}


def fence(script, *options):
    return [BINARY, "run", "-q", "-p", "./soak.toml", *options, "--", "sh", "-c", script]


def run(script, *options):
    return subprocess.run(fence(script, *options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def standing():
    return json.loads(subprocess.run([BINARY, "ps", "--json"], stdout=subprocess.PIPE, check=True).stdout)


def one_after_the_other():
    began, number = time.monotonic(), 0
    while number < 30 or time.monotonic() - began < SECONDS:
        done = run(PROBE)
        claim(done.returncode == 0, f"run {number} ended with {done.returncode}: {done.stderr}")
        number += 1
    say(f"{number} starts and stops in sequence, {(time.monotonic() - began) / number * 1000:.0f} ms each")


def at_once():
    wanted = 12 if SHORT else 1000
    os.mkfifo("go")
    processes = [subprocess.Popen(fence(f"cat /etc/shadow 2> /dev/null && exit 99; : > up-{number}; read -r word < go; {PROBE}"))
                 for number in range(wanted)]
    end = time.monotonic() + 60 + wanted
    while len(glob.glob("up-*")) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    seen = standing()
    claim(len(seen) == wanted, f"{len(seen)} of {wanted} fences stand")
    claim(sum(entries().values()) >= wanted, f"maps hold {entries()} with {wanted} fences")
    claim(all(one["state"] == "standing" and one["denied"] >= 1 for one in seen), "a fence does not tell of its denial")
    # Held open for writing, so that nobody waits for a writer.
    descriptor = os.open("go", os.O_RDWR)
    os.write(descriptor, b"\n" * wanted)
    codes = [process.wait() for process in processes]
    os.close(descriptor)
    claim(set(codes) == {0}, f"fences at once ended with {sorted(set(codes))}")
    for name in ["go", *glob.glob("up-*")]:
        os.remove(name)
    say(f"{wanted} fences at once")


FLOOD = """
import sys
free = 0
for _ in range(int(sys.argv[1])):
    try:
        open('/etc/shadow').close()
        free += 1
    except PermissionError:
        pass
sys.exit(99 if free else 0)
"""


def peak():
    """Of the largest child so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def flood():
    many = 20_000 if SHORT else 1_000_000
    before = peak()
    with open("heard", "wb") as heard:
        follower = subprocess.Popen([BINARY, "events"], stdout=heard)
    while not glob.glob("/run/ringfence/followers/0.*"):
        time.sleep(0.01)
    began = time.monotonic()
    done = subprocess.run([BINARY, "run", "-q", "-p", "./soak.toml", "--", "/usr/bin/python3", "-IS", "-c", FLOOD, str(many)])
    took = time.monotonic() - began
    claim(done.returncode == 0, f"a flood of {many} ended with {done.returncode}")
    record = json.loads(subprocess.run([BINARY, "why", "--json"], stdout=subprocess.PIPE, check=True).stdout)
    claim(record["denied"] >= many, f"{record['denied']} of {many} denials counted")
    told = sum(denial["count"] for denial in record["denials"]) + record["further"]
    claim(told + record["lost"] == record["denied"], f"told {told} and lost {record['lost']} of {record['denied']}")
    end = time.monotonic() + 30
    while b'"kind":"end"' not in open("heard", "rb").read()[-4096:] and time.monotonic() < end:
        time.sleep(0.05)
    follower.terminate()
    follower.wait()
    news = [json.loads(line) for line in open("heard")]
    heard = sum(one["kind"] == "event" for one in news)
    missed = sum(one["count"] for one in news if one["kind"] == "lost")
    claim(heard + missed == told, f"who followed heard {heard} and was told of {missed} lost, of {told}")
    grown = peak() - before
    claim(grown < 64, f"the largest process grew by {grown:.0f} MiB in a flood")
    say(f"{many} denials in {took:.1f} s, all of them denied: {told} told, {record['lost']} lost by the ring, "
        f"{missed} by who followed; memory grew by {max(grown, 0):.0f} MiB")


def against_each_other():
    end = time.monotonic() + (4 if SHORT else SECONDS)
    counts, lock = {}, threading.Lock()

    def count(what):
        with lock:
            counts[what] = counts.get(what, 0) + 1

    def runs():
        while time.monotonic() < end:
            done = run(PROBE)
            gone = b"unloaded while the fence was set up" in done.stderr
            claim(done.returncode == 0 or done.returncode == 125 and gone, f"a run ended with {done.returncode}: {done.stderr}")
            count("runs that found their programs unloaded" if gone else "runs")

    def stops():
        while time.monotonic() < end:
            process = subprocess.Popen(fence(f"{PROBE.split(';')[0]}; sleep 10"), stderr=subprocess.PIPE)
            for one in standing():
                if one["command"] and "sleep 10" in one["command"][-1]:
                    subprocess.run([BINARY, "stop", str(one["id"]), "--time", "100ms"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    count("stops")
            if process.poll() is None:
                process.send_signal(random.choice([signal.SIGTERM, signal.SIGKILL]))
                count("supervisors signalled")
            _, told = process.communicate()
            # Whoever is asked to end before the command has begun has no exit code of the command's.
            early = process.returncode == 125 and (b"unloaded while" in told or b"before it could start the command" in told)
            claim(process.returncode in (143, 137, -9, -15) or early, f"one to be stopped ended with {process.returncode}: {told}")

    def verbs():
        while time.monotonic() < end:
            verb = random.choice(["load", "unload", "ps", "metrics"])
            done = subprocess.run([BINARY, verb], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            claim(done.returncode == 0 or verb == "unload" and done.returncode == 1, f"{verb} ended with {done.returncode}: {done.stderr}")
            count(verb)

    workers = [threading.Thread(target=work) for work in (runs, runs, stops, verbs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say("against each other: " + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))


# Whole directories: the fallback need not look what exists.
with open("soak.toml", "w") as profile:
    profile.write(f"""version = 1
name = "soak"
[files]
read = ["/usr/**", "/lib/**", "/lib64/**", "/bin/**", "/dev/**", "{os.getcwd()}/**"]
exec = ["/usr/**", "/lib/**", "/lib64/**", "/bin/**"]
write = ["/dev/null", "{os.getcwd()}/**"]
""")
first = run(PROBE)
claim(first.returncode == 0, f"the first run ended with {first.returncode}: {first.stderr}")
def nothing_grew():
    """Counters stay for each number that a fence has had. A number of which a task is not forgotten yet is not given again, so that
    twice as many may come to be used as fences stand at once."""
    now = entries()
    grown = {name: count for name, count in now.items() if count > least.get(name, 0) * (2 if name.endswith("map_COUNTERS") else 1)}
    claim(not grown, f"maps grew to {grown} from {least}")


# Some maps stay for the next fence of their number.
at_once()
least, before = entries(), memory()
one_after_the_other()
nothing_grew()
at_once()
nothing_grew()
flood()
nothing_grew()
grown = {name: value - before[name] for name, value in memory().items()}
say("entries of all maps together: %d before and after; kernel memory of the whole host grew by %s KiB" % (sum(least.values()), grown))
against_each_other()
# What was stopped without its supervisor ends by itself, or here.
for one in standing():
    subprocess.run([BINARY, "stop", str(one["id"]), "--time", "100ms"], stdout=subprocess.DEVNULL)
run(PROBE)
claim(standing() == [], "a fence is left")
after = {name: count for name, count in entries().items() if count}
claim(all(count <= least.get(name, 0) * (2 if name.endswith("map_COUNTERS") else 1) for name, count in after.items()), f"maps hold {after}, and held {least}")
say(f"lost: {len(wrong)} of its promises")
sys.exit(1 if wrong else 0)
