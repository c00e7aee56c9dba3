"""What a job sees of its sandbox. Run by `make demo`, with the runtime's own Python."""

import errno
import os
import platform
import socket


def write_to_usr() -> str:
    try:
        with open("/usr/demo", "w"):
            return "allowed?!"
    except OSError as error:
        return f"refused: {errno.errorcode[error.errno]}, {error.strerror}"


def reach_out() -> str:
    # Connecting a datagram socket looks up a route and sends nothing.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # reserved for documentation
        except OSError as error:
            return f"refused: {errno.errorcode[error.errno]}, {error.strerror}"
    return "there is a route?!"


def pi(digits: int) -> str:
    """Machin: pi = 16 arctan(1/5) - 4 arctan(1/239), in integers, with ten guard digits."""

    def arctan(x: int) -> int:
        term = total = 10 ** (digits + 10) // x
        n = 1
        while term:
            term //= -x * x
            n += 2
            total += term // n
        return total

    text = str(4 * (4 * arctan(5) - arctan(239)) // 10**10)
    return f"{text[0]}.{text[1:]}"


print("Python          ", platform.python_version(), "from", os.path.realpath("/proc/self/exe"))
print("writing to /usr ", write_to_usr())
print("network devices ", ", ".join(name for _, name in socket.if_nameindex()) or "none")
print("reaching out    ", reach_out())
print("my result        pi =", pi(50))
