"""A pod by containerd's CRI, as a kubelet asks for it: SOCKET HANDLER IMAGE SCRIPT. Messages are written field by field
(k8s.io/cri-api, pkg/apis/runtime/v1/api.proto), since nothing that is packaged speaks this interface."""

import glob
import json
import os
import sys

import grpc

SOCKET, HANDLER, IMAGE, SCRIPT = sys.argv[1:]
NODE = 2  # NamespaceMode
# Where there is only version 2 of cgroups a container has a namespace of them, whose root is its own.
APART = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
channel = grpc.insecure_channel("unix://" + SOCKET)


def number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytearray([value]))


def message(*fields):
    out = b""
    for field, value in fields:
        if isinstance(value, int):
            out += number(field << 3) + number(value)
        else:
            value = value if isinstance(value, bytes) else value.encode()
            out += number(field << 3 | 2) + number(len(value)) + value
    return out


def fields(data):
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    at, found = 0, {}
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            length = varint()
            value = data[at : at + length]
            at += length
        found.setdefault(key >> 3, value)
    return found


def call(name, *request):
    method = channel.unary_unary("/runtime.v1.RuntimeService/" + name)
    return fields(method(message(*request), timeout=120))


def pod(name, **annotations):
    namespaces = message((1, NODE))
    return message(
        (1, message((1, name), (2, name + "-uid"), (3, "default"), (4, 1))),
        (3, "/var/log/pods"),
        *((7, message((1, key), (2, value))) for key, value in annotations.items()),
        (8, message((1, "/ringfence-test"), (2, message((1, namespaces))))),
    )


def container(sandbox, config, name):
    wanted = message(
        (1, message((1, name))),
        (2, message((1, IMAGE))),
        *((3, word) for word in ["sleep", "900"]),
        (15, message((2, message((3, message((1, NODE))))))),
    )
    made = call("CreateContainer", (1, sandbox), (2, wanted), (3, config))[1].decode()
    call("StartContainer", (1, made))
    return made


def fenced():
    records = [json.load(open(path)) for path in glob.glob("/run/ringfence/containers/*.json")]
    return {record["id"] for record in records}


name = "pod-" + SOCKET.split("/")[-2].strip(".")
try:
    call("RunPodSandbox", (1, pod(name, **{"dev.ringfence.profile": "none-such"})), (2, HANDLER))
    print("started")
except grpc.RpcError as error:
    print("refused" if "none-such" in error.details() else error.details())

config = pod(name)
sandbox = call("RunPodSandbox", (1, config), (2, HANDLER))[1].decode()
ids = [sandbox]
try:
    for one in ["first", "second"]:
        ids.append(container(sandbox, config, one))
    print("fenced", len(fenced() & set(ids)))
    for one in ids[1:]:
        answer = call("ExecSync", (1, one), *((2, word) for word in ["sh", "-c", SCRIPT]), (3, 60))
        print(answer.get(1, b"").decode(), end="")
        answer = call("ExecSync", (1, one), *((2, word) for word in ["cat", "/proc/self/cgroup"]), (3, 60))
        own = [line for line in answer[1].decode().splitlines() if line.startswith("0::")]
        print("own" if own[0] == "0::/" and APART or own[0].endswith(one) else own)
    # What holds the pod's namespaces, by its runtime: the interface executes nothing in it.
    print("pause", sandbox, flush=True)
    sys.stdin.readline()
finally:
    for one in ids[1:]:
        call("StopContainer", (1, one), (2, 1))
        call("RemoveContainer", (1, one))
    call("StopPodSandbox", (1, sandbox))
    call("RemovePodSandbox", (1, sandbox))
print("left", len(fenced() & set(ids)))
