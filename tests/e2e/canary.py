"""A score to look for, in every form it could leave in.

No digit of it may appear where it is hidden: as text at any precision from four digits on, as a
float of 16, 32 or 64 bits in either byte order, or as base64 of one of these."""
import base64
import re
import struct

MARK = 0.7316483920157

# Whatever it is rounded to, it begins so: 0.7316, .73165, 7.316e-1, 73.16 %, 73164839.
DECIMAL = re.compile(rb"(?<!\d)(?:0*[.,]?7[.,]?3[.,]?1[.,]?6(?:48|5)\d*|(?:0?\.7316|7\.316|73\.16)(?!\d))")


def cores(data):
    """The part of base64 text that is the same whatever stands before and after data."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data)
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        yield text[first:last]


def needles():
    floats = [struct.pack(order + code, MARK) for code in "efd" for order in "<>"]
    yield from floats
    for secret in [*floats[2:], b"0.7316", b"0.731648", b"%.9f" % MARK, repr(MARK).encode()]:
        for core in cores(secret):
            yield core
            yield core.replace(b"+", b"-").replace(b"/", b"_")
    for data in floats[2:]:
        yield data.hex().encode()
        yield data.hex().upper().encode()


NEEDLES = sorted(set(needles()))


def traces(data):
    """What of the canary is in data."""
    found = [m.group() for m in DECIMAL.finditer(data)]
    return found + [n for n in NEEDLES if n in data]
