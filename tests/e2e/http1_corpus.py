"""The malformed and the good requests of tests/unit/http1_corpus.h, for tests of the whole binary.

CORPUS is a list of (id, bytes, expected status).  The C header is the only source; its literals
keep to escapes that C and Python read alike.
"""

import ast
import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "unit" / "http1_corpus.h"
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Z_0-9]+')


def _value(tokens, names):
    """Adjacent literals and names, joined, as C joins them."""
    parts = TOKEN.findall(tokens)
    return b"".join(ast.literal_eval("b" + p) if p[0] == '"' else names[p] for p in parts)


def load(path=SOURCE):
    text = path.read_text(encoding="ascii").replace("\\\n", " ")
    names = {}
    corpus = []
    for name, tokens in re.findall(r"^#define (\w+) (.*)$", text, re.M):
        names[name] = _value(tokens, names)
    for number, status, tokens in re.findall(r"^CASE\((\d+), (\d+), (.*)\)$", text, re.M):
        corpus.append((int(number), _value(tokens, names), int(status)))
    if len(corpus) != text.count("\nCASE("):
        raise ValueError(f"{path}: a CASE that is not one line")
    return corpus


CORPUS = load()
