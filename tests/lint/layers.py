#!/usr/bin/python3
"""layers.py [ROOT] - the rules of the tree that no compiler knows.

Who may include whom, which library is seen by which file, how long files and functions may be,
which calls are banned, which marks of unfinished work are refused.  Prints FILE:LINE: what is
wrong, one line each; exit 1 if there is any.
"""
import fnmatch
import os
import re
import sys

FILE_LINES_MAX = 500
TEST_LINES_MAX = 800  # tables of cases grow long without growing difficult
FUNCTION_LINES_MAX = 70

# Which files of the tree a file may include: the first row whose pattern fits the file is it.
# A pattern's * also matches slashes.
MAY_INCLUDE = [
    ("proxy/base/*", ["proxy/base/*"]),
    ("proto/*", ["proto/*", "proxy/base/*"]),
    ("filters/filters.c", ["filters/filters.def", "proxy/filter.h"]),
    ("filters/detect/*", ["filters/detect/*", "proxy/filter.h", "proxy/verdict.h", "proxy/store.h",
                          "proto/predictions.h", "proxy/base/*"]),
    ("filters/detect.c", ["filters/detect/*", "proxy/filter.h", "proxy/verdict.h", "proxy/store.h",
                          "proto/predictions.h", "proxy/base/*"]),
    ("filters/*", ["filters/*.h", "proxy/filter.h", "proxy/verdict.h", "proxy/store.h",
                   "proto/predictions.h", "proxy/base/*"]),
    ("proxy/*", ["proxy/*", "filters/filters.def", "proto/*"]),
    ("tests/*", ["*"]),
]

# One library, one place: the header's prefix, and the files that may see it.
EVENT_DRIVEN = ["main", "worker", "mailbox", "listen*", "conn*", "front*", "upstream*", "exchange*",
                "admin*", "health*", "http_client*", "timer*", "signals", "tls*", "wire*", "redis*"]
LIBRARIES = [
    ("openssl/", ["proxy/tls*.[ch]", "proxy/crypto.c", "proxy/crypto_sign.c",
                  "proxy/crypto_stream.c"]),
    ("emmintrin.h", ["proxy/base/os.h"]),
    ("event2/", ["proxy/%s.[ch]" % name for name in EVENT_DRIVEN]),
    ("event.h", []),
    ("yaml.h", ["proxy/yaml.c"]),
    ("llhttp.h", ["proxy/http1*.c"]),
    ("zlib.h", ["proxy/inflate.c"]),
    ("jansson.h", ["proxy/jwt*.c"]),
    ("hiredis/", ["proxy/redis*.[ch]"]),
    ("sqlite3.h", ["proxy/store_durable*.c"]),
]

# What else may stand between angle brackets: the C library and the kernel's headers.
LIBC = re.compile(r"(sys|netinet|arpa|linux|net)/\w+\.h$|(%s)\.h$" % "|".join((
    "assert ctype errno fenv float inttypes limits locale math setjmp signal stdalign stdarg "
    "stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings time "
    "dirent endian fcntl getopt grp libgen netdb poll pthread pwd sched semaphore syslog unistd "
    "immintrin x86intrin").split()))

# Unbounded writes, hidden state, silent errors; what to use is in the message.
BANNED = {
    "strcpy": "buf.h or memcpy with a length", "strcat": "buf.h", "sprintf": "snprintf or buf.h",
    "vsprintf": "vsnprintf", "stpcpy": "buf.h", "strncpy": "memcpy with a length",
    "strncat": "buf.h", "gets": "fgets", "strtok": "bytes_cut", "atoi": "bytes_to_u64",
    "atol": "bytes_to_u64", "atof": "a checked parser", "rand": "crypto_random",
    "srand": "crypto_random", "random": "crypto_random", "alloca": "an arena",
    "tmpnam": "mkstemp", "mktemp": "mkstemp", "system": "nothing: no shell in a proxy",
    "popen": "nothing: no shell in a proxy",
}
BANNED_CALL = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(BANNED))

# Spelt in halves so that this file does not refuse itself.
MARKS = re.compile(r"\b(%s)\b" % "|".join(("TO" "DO", "FIX" "ME", "XX" "X")))

PRODUCT = ("proxy/", "filters/", "proto/")
SOURCES = (".c", ".h", ".def")
TEXTS = SOURCES + (".py", ".sh", ".lua", ".yaml", ".yml")


def blank(code):
    """The code with comments, strings and characters emptied, line for line."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def hollow(match):
        text = match.group()
        if text[0] in "\"'":
            return text[0] * 2
        return re.sub(r"[^\n]", " ", text)

    return token.sub(hollow, code)


def fits(path, patterns):
    return any(fnmatch.fnmatchcase(path, p) for p in patterns)


def check_includes(path, code):
    """Includes of the tree by MAY_INCLUDE, of libraries by LIBRARIES."""
    allowed = next((may for pattern, may in MAY_INCLUDE if fits(path, [pattern])), [])
    for n, line in enumerate(code.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if not match:
            continue
        near, far = match.groups()
        if near:
            target = os.path.normpath(os.path.join(os.path.dirname(path), near))
            if not fits(target, allowed):
                yield n, "%s may not include %s" % (path.split("/")[0] + "/", target)
        elif not path.startswith("tests/"):
            yield from check_library(path, n, far)


def check_library(path, n, header):
    for prefix, places in LIBRARIES:
        if header.startswith(prefix):
            if not fits(path, places):
                yield n, "<%s> may only be included by %s" % (header, ", ".join(places) or "nobody")
            return
    if not LIBC.match(header):
        yield n, "<%s> is no header of the C library and no library has a place for it" % header


def functions(hollow):
    """(name, first line, lines) of each function body: a brace opened at depth 0 behind a list of
    parameters.  The hollow code has no comments and strings; preprocessor lines are left out."""
    depth, head, start, name = 0, "", 0, None
    continued = False
    for n, line in enumerate(hollow.split("\n"), 1):
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.endswith("\\")
        if directive:
            continue
        for c in line:
            if c == "{":
                if depth == 0:
                    match = re.search(r"(\w+)\s*\(", head)
                    name = match.group(1) if match and "=" not in head else None
                    start = n
                depth += 1
            elif c == "}":
                depth -= 1
                if depth == 0:
                    if name:
                        yield name, start, n - start + 1
                    head, name = "", None
            elif depth == 0:
                head = "" if c == ";" else head + c
        head += " "


def check_product(path, hollow):
    for name, start, length in functions(hollow):
        if length > FUNCTION_LINES_MAX:
            yield start, "%s() has %d lines, over %d" % (name, length, FUNCTION_LINES_MAX)
    for n, line in enumerate(hollow.split("\n"), 1):
        for match in BANNED_CALL.finditer(line):
            yield n, "%s() is banned: use %s" % (match.group(1), BANNED[match.group(1)])


def check_text(path, text):
    lines = text.split("\n")
    most = TEST_LINES_MAX if path.startswith("tests/") else FILE_LINES_MAX
    if len(lines) - 1 > most:
        yield len(lines) - 1, "%d lines, over %d" % (len(lines) - 1, most)
    for n, line in enumerate(lines, 1):
        if MARKS.search(line):
            yield n, "a mark of unfinished work: finish it, or file an issue"


def check_registry(root):
    """Every filter and codec that is written is also registered: a row left out would be silent."""
    for folder, registry, row in (("filters", "filters.def", "FILTER"), ("proto", "codecs.def", "CODEC")):
        path = os.path.join(root, folder, registry)
        if not os.path.exists(path):
            continue
        with open(path) as f:
            rows = set(re.findall(r"^%s\((\w+)\)" % row, f.read(), re.M))
        kind = row.lower()
        for name in sorted(os.listdir(os.path.join(root, folder))):
            if not name.endswith(".c"):
                continue
            with open(os.path.join(root, folder, name), errors="replace") as f:
                for made in re.findall(r"^const struct %s %s_(\w+) = " % (kind, kind), f.read(), re.M):
                    if made not in rows:
                        yield "%s/%s" % (folder, name), 1, "%s has no row in %s" % (made, registry)


def check_file(root, path):
    with open(os.path.join(root, path), errors="replace") as f:
        text = f.read()
    yield from check_text(path, text)
    if path.endswith(SOURCES):
        hollow = blank(text)
        # Names of included files are strings: they come from the text, where the hollow code
        # still has the directive (so not in a comment).
        kept = [t if re.match(r"\s*#\s*include", h) else "" for t, h in
                zip(text.split("\n"), hollow.split("\n"))]
        yield from check_includes(path, "\n".join(kept))
        if path.startswith(PRODUCT):
            yield from check_product(path, hollow)


def tree(root):
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(d for d in folders if not d.startswith((".", "build", "__")))
        for name in sorted(files):
            if name.endswith(TEXTS):
                yield os.path.relpath(os.path.join(folder, name), root)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../..")
    bad = 0
    found = [(p, n, what) for p in tree(root) for n, what in check_file(root, p)]
    for path, n, what in found + list(check_registry(root)):
        print("%s:%d: %s" % (path, n, what))
        bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
