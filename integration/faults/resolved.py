"""Inside the fence: asks for a name before and after the supervisor, and its resolver, are killed."""

import os
import socket
import time


def resolves():
    try:
        socket.getaddrinfo("allowed.test", 80, type=socket.SOCK_STREAM)
        return "resolved"
    except socket.gaierror:
        return "not resolved"


def reaches(address):
    connection = socket.socket()
    connection.settimeout(5)
    try:
        connection.connect(address)
        return "reached"
    except PermissionError:
        return "denied"
    except OSError as error:
        return str(error)


before = resolves()
# While names are asked.
end = time.monotonic() + 60
with open("asked", "w") as asked:
    asked.write(before)
while not os.path.exists("killed") and time.monotonic() < end:
    resolves()
with open("result.new", "w") as result:
    result.write(f"before: {before}\nafter: {resolves()}\naddress: {reaches(('127.0.0.2', 9))}\n")
os.rename("result.new", "result")
