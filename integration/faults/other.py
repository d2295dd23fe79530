"""Copies the program with another object inside: the last byte of its ELF identification, which pads and means nothing, and with another
digest of it, which was taken when the program was built."""

import os
import sys

text = bytearray(open(sys.argv[1], "rb").read())
# 64 bits, little-endian, version 1, no particular system, relocatable, for BPF (elf(5)); the program itself is none of that.
at, found = -1, []
while (at := text.find(b"\x7fELF\x02\x01\x01", at + 1)) >= 0:
    if text[at + 16:at + 20] == b"\x01\x00\xf7\x00":
        found.append(at)
assert found, "no object inside"
for at in found:
    assert text[at + 15] == 0
    text[at + 15] = 1
digest = sys.argv[3].encode()
assert text.count(digest) > 0, "no digest inside"
text = text.replace(digest, digest[:-1] + (b"1" if digest.endswith(b"0") else b"0"))
with open(sys.argv[2], "wb") as other:
    other.write(text)
os.chmod(sys.argv[2], 0o755)
