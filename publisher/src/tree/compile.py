# Compiles modules: from standard input to standard output, one after the other. A module is the length of
# its path and of its source, 32 bits each, little-endian, and both; its answer a length and a .pyc file.
# The file is an unchecked hash-based pyc (PEP 552): its source is not looked at again. 0 if it is not a module.
import marshal
import struct
import sys
import warnings
from importlib.util import MAGIC_NUMBER, source_hash

warnings.simplefilter("ignore")
modules, answers = sys.stdin.buffer, sys.stdout.buffer
while head := modules.read(8):
    path, source = (modules.read(length) for length in struct.unpack("<II", head))
    try:
        code = compile(source, path.decode(), "exec", dont_inherit=True)
        answer = MAGIC_NUMBER + struct.pack("<I", 1) + source_hash(source) + marshal.dumps(code)
    except (SyntaxError, ValueError, RecursionError):
        answer = b""
    answers.write(struct.pack("<I", len(answer)) + answer)
