"""The lint's own test: each rule refuses what it should, and lets the neighbouring case pass."""
import os
import subprocess
import sys

import pytest

LAYERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers.py")


def lint(root, path, text):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    done = subprocess.run([sys.executable, LAYERS, str(root)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == (1 if done.stdout else 0)
    return done.stdout


def body(lines):
    return "int f(int a) {\n" + "    a++;\n" * (lines - 2) + "}\n"


BAD = [
    ("proxy/base/buf.c", '#include "../policy.h"\n', "may not include proxy/policy.h"),
    ("proto/json.c", '#include "../proxy/filter.h"\n', "may not include proxy/filter.h"),
    ("filters/top_k.c", '#include "round.c"\n', "may not include filters/round.c"),
    ("filters/top_k.c", '#include "../proxy/exchange.h"\n', "may not include proxy/exchange.h"),
    ("filters/top_k.c", "#include <event2/event.h>\n", "may only be included by"),
    ("proxy/policy.c", '#include "../tests/unit/guard.h"\n', "may not include tests/unit/guard.h"),
    ("proxy/policy.c", "#include <openssl/evp.h>\n", "may only be included by"),
    ("proxy/config.c", "#include <yaml.h>\n", "may only be included by"),
    ("proxy/policy.c", "#include <event2/event.h>\n", "may only be included by"),
    ("proxy/exchange.c", "#include <curl/curl.h>\n", "no library has a place for it"),
    ("proxy/exchange.c", "void f(char *a) {\n    strcpy(a, a);\n}\n", "strcpy() is banned"),
    ("proxy/exchange.c", body(71), "f() has 71 lines"),
    ("proxy/exchange.c", "static int g(int a,\n             int b)\n" + body(71)[11:], "lines, over 70"),
    ("proxy/exchange.c", "\n" * 501, "501 lines, over 500"),
    ("tests/unit/test_a.c", "\n" * 801, "801 lines, over 800"),
    ("tests/e2e/test_a.py", "# %s: later\n" % ("TO" + "DO"), "unfinished"),
    ("filters/top_k.c", "const struct filter filter_top_k = {\n};\n", "no row in filters.def"),
]

GOOD = [
    ("proxy/base/buf.c", '#include "limits.h"\n#include <string.h>\n'),
    ("proto/json.c", '#include "../proxy/base/buf.h"\n#include "json.h"\n'),
    ("filters/top_k.c", '#include "../proxy/filter.h"\n#include <math.h>\n'),
    ("proxy/tls.c", "#include <openssl/ssl.h>\n"),
    ("proxy/worker.c", "#include <event2/event.h>\n"),
    ("proxy/exchange.c", '/* strcpy(a, b) */\nconst char *s = "strcpy(";\nint my_strcpy(int);\n'),
    ("proxy/exchange.c", body(70)),
    ("proxy/exchange.c", "static const int a[] = {\n" + "    1,\n" * 100 + "};\n"),
    ("proxy/exchange.c", "struct x {\n" + "    int a;\n" * 100 + "};\n"),
    ("proxy/exchange.c", '/*\n#include "../tests/x.h"\n*/\n'),
    ("proxy/exchange.c", "\n" * 500),
    ("tests/unit/test_a.c", "\n" * 800),
    ("tests/unit/test_a.c", '#include "../../proxy/exchange.c"\n#include <jansson.h>\n' + body(90)),
    ("filters/top_k.c", "const struct filter filter_round = {\n};\n"),
]


@pytest.mark.parametrize("path,text,says", BAD)
def test_refuses(tmp_path, path, text, says):
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/filters.def").write_text("FILTER(round)\n")
    found = lint(tmp_path, path, text)
    assert found.startswith(path + ":") and says in found


@pytest.mark.parametrize("path,text", GOOD)
def test_passes(tmp_path, path, text):
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/filters.def").write_text("FILTER(round)\n")
    assert lint(tmp_path, path, text) == ""
