"""Executes a program to which the kernel refuses one command of bpf(2): its number, the error's name, the program and its arguments."""

import ctypes
import errno
import os
import sys

BPF = 321
EQUAL = 4
ALLOW = 0x7FFF0000
ERROR = 0x00050000


class Compared(ctypes.Structure):
    """As seccomp.h has `struct scmp_arg_cmp`."""

    _fields_ = [("argument", ctypes.c_uint), ("how", ctypes.c_int), ("value", ctypes.c_uint64), ("mask", ctypes.c_uint64)]


library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
library.seccomp_init.argtypes = [ctypes.c_uint32]
library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
library.seccomp_load.argtypes = [ctypes.c_void_p]
number, answer = int(sys.argv[1]), getattr(errno, sys.argv[2])
rules = library.seccomp_init(ALLOW)
meant = Compared(0, EQUAL, number, 0)
assert library.seccomp_rule_add_array(rules, ERROR | answer, BPF, 1, ctypes.byref(meant)) == 0
assert library.seccomp_load(rules) == 0
os.execv(sys.argv[3], sys.argv[3:])
