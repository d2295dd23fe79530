"""Kills a supervisor at moments that are spread over its start, and says what became of each run.

Arguments: how many moments, and `cold` for a start that loads the programs. The folder is the working directory.
"""

import glob
import os
import subprocess
import sys
import time

BINARY = os.environ["R"]
# Tries what no rule allows, and says so only if it could.
COMMAND = ": > started-{0}; cat /etc/shadow > /dev/null 2>&1 && : > free-{0}; : > ended-{0}"


def start(number):
    command = [BINARY, "run", "-q", "--write", os.getcwd(), "--", "sh", "-c", COMMAND.format(number)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(what, condition):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            sys.exit("never: " + what)
        time.sleep(0.002)


def unload():
    wait_for("unloaded", lambda: subprocess.run([BINARY, "unload"], stdout=subprocess.DEVNULL).returncode == 0)


def whole(number, cold):
    """The time from start to the command's first act."""
    if cold:
        unload()
    began = time.monotonic()
    process = start(number)
    wait_for("started", lambda: os.path.exists(f"started-{number}"))
    took = time.monotonic() - began
    process.wait()
    return took


moments, cold = int(sys.argv[1]), "cold" in sys.argv[2:]
whole("first", False)
total = max(whole(f"whole-{round}", cold) for round in range(2))
started, in_a_row, number = 0, 0, 0
# A later kill each time, until the start is over three times in a row.
while in_a_row < 3:
    if cold:
        unload()
    process = start(number)
    time.sleep(total * number / moments)
    process.kill()
    process.wait()
    # Whoever was released ends by itself, fenced.
    if os.path.exists(f"started-{number}"):
        started, in_a_row = started + 1, in_a_row + 1
        wait_for(f"end of run {number}", lambda: os.path.exists(f"ended-{number}"))
    else:
        in_a_row = 0
    number += 1
    if number > moments * 10:
        sys.exit("never: a start that is over before the kill")
free = glob.glob("free-*")
if free:
    sys.exit(f"not fenced: {free}")
print(f"{number} supervisors killed in the {total * number / moments * 1000:.0f} ms of a {'cold' if cold else 'warm'} start: "
      f"{started} commands had started, all of them fenced")
