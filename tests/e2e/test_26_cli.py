"""The command line, and what the running gate says of itself: pages and the access log."""
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

import harness
import oip
from harness import ROOT, run, wait_for


def read(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read()


def readme_policy():
    """The policy that README.md shows, as it stands there."""
    block = re.search(r"^    # policy\.yaml\n((?:    .*\n)+)", read("README.md"), re.M)[1]
    return re.sub("^    ", "", block, flags=re.M)


@pytest.fixture
def policy(tmp_path):
    """A file with README's policy, after these replacements: (path, its lines)"""
    def make(*changes):
        text = readme_policy()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        return str(path), text.split("\n")
    return make


# ---- The README's policy ----

def test_the_policy_of_the_readme_is_right(policy):
    path, lines = policy()
    assert len(lines) - 1 == 9
    code, out, err = run("check", path)
    assert (code, err) == (0, "")
    assert re.fullmatch(re.escape(path) + r": no errors; policy version [0-9a-f]{64}\n", out)


def test_the_policy_of_the_readme_works(policy, model_server, make_gate):
    port, admin = harness.free_ports(2)
    path, _ = policy(("127.0.0.1:8080", "127.0.0.1:%d" % port), ("127.0.0.1:9901", "127.0.0.1:%d" % admin),
                     ("http://127.0.0.1:8000", "http://127.0.0.1:%d" % model_server))
    gate = make_gate("http://127.0.0.1:1", start=False)
    gate.port, gate.admin = port, admin
    shutil.copyfile(path, gate.path("policy.yaml"))
    gate.start()
    headers, body = oip.write("inputs", [oip.tensor("x", "FP64", [0.0] * 64, (1, 64))], False)
    status, headers, answer = gate.request("POST", "/v2/models/digits/infer", body, key=False)
    assert status == 200
    message, tensors, _ = oip.read("outputs", headers, answer)
    assert list(tensors) == ["probabilities"]
    assert sorted(tensors["probabilities"].values()) == [0] * 9 + [1]


# ---- check, explain ----

def test_check_reports_every_error_with_its_place(policy):
    path, lines = policy(("top_k: {k: 1}", "top_k: {kk: 1}"), ("protocol: http}", "protocol: htp}"),
                         ("policy: guarded", "policy: gaurded"), ("120/min", "120/month"))
    code, out, err = run("check", path)
    assert (code, out) == (1, "")
    found = re.findall(r"^%s:(\d+):(\d+): error: (.*)\n    (.*)\n    ( *)\^(~*)\n(?:    hint: (.*)\n)?"
                       % re.escape(path), err, re.M)
    assert len(found) == 4 and err.endswith("4 errors\n")
    words = {"kk": "k, scores", "htp": "'http'", "gaurded": "'guarded'", "120/month": "120/min"}
    for line, column, message, shown, indent, tail, hint in found:
        assert shown == lines[int(line) - 1]
        at = int(column) - 1
        assert len(indent) == at
        word = next(w for w in words if shown[at:].startswith(w))
        assert len(tail) + 1 == len(word)
        assert words.pop(word) in hint + message
    assert words == {}


@pytest.mark.parametrize("text,says", [
    ("", "error"), ("a: [", "error"), ("[]", "error"), ("listeners: []", "error"), ("\0", "error"),
    ("x: &a [*a]", "error"), ("listeners: 1\nlisteners: 2\n", "duplicate"),
])
def test_check_of_what_is_no_policy(tmp_path, text, says):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    code, out, err = run("check", str(path))
    assert (code, out) == (1, "") and says in err
    assert re.match(re.escape(str(path)) + r":\d+:\d+: error: ", err)


def test_check_of_no_file(tmp_path):
    code, _, err = run("check", str(tmp_path / "none.yaml"))
    assert code == 1 and "No such file" in err


def test_explain_says_who_gets_what(policy, tmp_path):
    path, _ = policy()
    code, out, err = run("explain", path, "--client", "127.0.0.1", "--model", "MODEL")
    assert (code, err) == (0, "")
    for words in ("policy  guarded", "enforced", "120 queries per minute", "only the best class is shown",
                  "- probabilities (scores)", "other outputs are dropped", "no differential privacy"):
        assert words in out
    for bad in (["--client", "nobody", "--model", "MODEL"], ["--client", "127.0.0.1"], []):
        assert run("explain", path, *bad)[0] in (1, 2)


def test_explain_follows_the_tier(make_gate):
    gate = make_gate("http://127.0.0.1:1", start=False, policy="filters: [{top_k: {}}]",
                     model=", tiers: {gold: gold}",
                     more="  gold: {filters: [{round: {digits: 3}}], mode: observe}")
    gate.keys.append(("bob", "k" * 16, "gold"))
    gate.write_policy()
    said = {who: run("explain", gate.path("policy.yaml"), "--client", who, "--model", "m")[1]
            for who in ("alice", "bob")}
    assert "policy  main" in said["alice"] and "top_k" in said["alice"]
    assert "tier gold" in said["bob"] and "round" in said["bob"] and "only observed" in said["bob"]
    code, _, err = run("explain", gate.path("policy.yaml"), "--client", "alise", "--model", "m")
    assert code == 1 and "alice" in err


# ---- schema, reference ----

KINDS = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
         "boolean": bool, "null": type(None)}


def fits(schema, value):
    """The part of JSON Schema that `querygate schema` uses, but for bounds and patterns."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    types = schema.get("type", list(KINDS))
    if not any(isinstance(value, KINDS[t]) for t in ([types] if isinstance(types, str) else types)):
        return False
    if isinstance(value, list):
        return all(fits(schema.get("items", {}), v) for v in value)
    if not isinstance(value, dict):
        return True
    known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
    if any(key not in value for key in schema.get("required", [])):
        return False
    return all(fits(known[k], v) if k in known else other is not False and fits(other, v)
               for k, v in value.items())


def test_the_schema_agrees_with_check(policy):
    schema = json.loads(run("schema")[1])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for change, good in ((("k: 1", "k: 2"), True), (("k: 1", "kk: 1"), False), (("k: 1", "k: x"), False),
                         (("protocol: http}", "protocol: htp}"), False), (("anonymous:", "anon:"), False),
                         (("match: \"*\", ", ""), False), (("scores}", "score}"), False)):
        path, lines = policy(change)
        assert (run("check", path)[0] == 0) == good
        assert fits(schema, yaml.safe_load("\n".join(lines))) == good, change


def test_the_documents_are_the_tables():
    assert run("schema")[1] == read("deploy", "policy.schema.json")
    assert run("reference")[1] == read("deploy", "policy-reference.md")
    for name in re.findall(r"FILTER\((\w+)\)", read("filters", "filters.def")):
        assert "### `%s`" % name in run("reference")[1]
        assert "`%s`" % name in read("README.md") and "`%s`" % name in read("filters", "README.md")


# ---- keys and names ----

def entries(text):
    return yaml.safe_load("keys:\n" + text)["keys"]


def test_hash_key_makes_entries_that_work(make_gate, upstream):
    secret = "0123456789abcdef - spaces too"
    code, old, _ = run("hash-key", "--id", "al \"ice\"", "--tier", "gold", "--not-after", "2999-12-31",
                       stdin=secret + "\n")
    assert code == 0
    (entry,) = entries(old)
    assert entry["id"] == 'al "ice"' and entry["tier"] == "gold" and str(entry["not_after"]) == "2999-12-31"
    assert entry["sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in old
    code, new, shown = run("hash-key", "--id=bob", "--new")
    made = re.fullmatch(r"the key, shown this once: ([\w-]{43})\n", shown)[1]
    assert code == 0 and entries(new)[0]["sha256"] == hashlib.sha256(made.encode()).hexdigest()
    gate = make_gate(upstream.url, start=False, model=", tiers: {gold: main}")
    gate.write("keys.yaml", "keys:\n" + old + new)
    gate.start()
    for key, want in ((secret, 200), (made, 200), ("x" * 43, 401)):
        assert gate.infer(headers={"X-API-Key": key})[0] == want


@pytest.mark.parametrize("args,stdin", [
    (["--id", "a"], "short"), (["--id", "a"], "x" * 1025), (["--id", "a"], "tab\tin the key 12345"),
    (["--id", "a"], "é" * 20), (["--id", ""], "x" * 20), (["--id", "a" * 129], "x" * 20),
    (["--id", "a", "--not-after", "tomorrow"], "x" * 20)])
def test_hash_key_refuses(args, stdin):
    code, out, err = run("hash-key", *args, stdin=stdin)
    assert code == 1 and out == "" and err.startswith("querygate: ")


def test_pseudonym_is_the_documented_digest(make_gate):
    gate = make_gate("http://127.0.0.1:1", start=False)
    key = open(gate.path("pseudonym.key"), "rb").read()
    file = gate.path("policy.yaml")
    for kind, given, name in (("key", "alice", "alice"), ("jwt", "alice", "alice"),
                              ("mtls", "spiffe://a/b", "spiffe://a/b"), ("address", "127.0.0.1", "127.0.0.1"),
                              ("address", "2001:db8:1:2:3::4", "2001:db8:1:2::/64")):
        want = hmac.new(key, ("%s:%s" % (kind, name)).encode(), "sha256").hexdigest()[:16]
        assert run("pseudonym", "-c", file, "--kind", kind, "--id", given) == (0, "k1:%s\n" % want, "")
    for kind, given in (("oidc", "alice"), ("address", "localhost"), ("address", "")):
        assert run("pseudonym", "-c", file, "--kind", kind, "--id", given)[0] == 1


def test_the_rest():
    version = read("VERSION").strip()
    assert run("version") == run("--version") == (0, "querygate %s\n" % version, "")
    code, out, _ = run("help")
    assert code == 0
    for command in ("run", "check", "explain", "schema", "reference", "hash-key", "pseudonym", "version"):
        assert "  querygate %s" % command in out
        if command not in ("schema", "reference", "version"):
            code, out_of_it, err = run(command)
            assert (code, out_of_it) == (2, "") and err.startswith("usage: querygate " + command)
    code, _, err = run("chekc")
    assert code == 2 and "did you mean 'check'" in err
    assert run("check", "--what", "x")[0] == run("version", "more")[0] == 2


def test_run_refuses_what_check_refuses(policy):
    path, _ = policy(("k: 1", "k: -1"))
    assert run("run", "-c", path)[:2] == (1, "")
    assert run("run", "-c", path)[2] == run("check", path)[2]


@pytest.mark.parametrize("name", ["pseudonym.key"])
def test_a_secret_that_others_may_read_is_refused(make_gate, name):
    gate = make_gate("http://127.0.0.1:1", start=False)
    assert run("check", gate.path("policy.yaml"))[0] == 0
    os.chmod(gate.path(name), 0o644)
    code, _, err = run("check", gate.path("policy.yaml"))
    assert code == 1 and name in err


# ---- Pages and the log ----

@pytest.fixture
def busy(make_gate, upstream):
    """A gate that has seen a bit of everything."""
    rate = "{rate_limit: {requests: 1/h, burst: 1}}"
    gate = make_gate(upstream.url, start=False, policy="mode: observe, filters: [%s]" % rate,
                     model=", tiers: {gold: gold}", more="  gold: {filters: [%s, {top_k: {}}]}" % rate)
    gate.gold = "g" * 32
    gate.keys.append(("bob", gate.gold, "gold"))
    gate.write_policy()
    gate.start()
    for key in (gate.key, gate.gold, "unknown-key-0123456789"):
        for _ in range(2):
            gate.infer(headers={"X-API-Key": key})
    gate.infer({"inputs": []})
    gate.infer(model="x")
    for path in ("/v2", "/v2/models/m", "/v2/models/m/ready", "/v2/health/live", "/v2/health/ready",
                 "/metrics"):
        gate.request("GET", path)
    gate.request("POST", "/v2/models/m/infer", b"{}", {"Content-Encoding": "br"})
    return gate


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_metrics_please_promtool(busy):
    page = busy.admin_get("/metrics")[1]
    r = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True,
                       timeout=harness.PATIENCE)
    assert (r.returncode, r.stdout + r.stderr) == (0, "")
    assert not re.search(r'\{[^}]*(client|address|path|key)=', page)
    assert busy.metric("requests_total") == 15
    assert busy.metric("request_seconds_count") == 15


LOG_FIELDS = {
    "time": str, "status": int, "client": str, "tier": str, "call": str, "model": str, "policy": str,
    "mode": str, "rows": int, "reason": str, "filter": str, "would_refuse": list,
    "policy_sha256": str, "bytes_in": int, "bytes_out": int, "us": int, "upstream_us": int}


def test_the_access_log_has_its_fields_and_no_others(busy):
    wait_for(lambda: len(busy.log_lines()) == 15, "all is logged")
    lines = busy.log_lines()
    for line in lines:
        assert set(line) <= set(LOG_FIELDS)
        assert set(line) >= {"time", "status", "client", "call", "policy_sha256", "bytes_in", "bytes_out",
                             "us"}
        for name, value in line.items():
            assert type(value) is LOG_FIELDS[name]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["time"])
        assert re.fullmatch("k1:[0-9a-f]{16}", line["client"])
        assert (line["status"] >= 400) == ("reason" in line)
    seen = sorted((line["call"], line["status"], line.get("filter", "")) for line in lines)
    assert seen == sorted([
        ("infer", 200, ""), ("infer", 200, ""), ("infer", 200, ""), ("infer", 429, "rate_limit"),
        ("refused", 401, ""), ("refused", 401, ""), ("infer", 400, ""), ("infer", 404, ""),
        ("infer", 415, ""), ("refused", 403, ""), ("server_metadata", 200, ""), ("model_metadata", 200, ""),
        ("model_ready", 502, ""), ("live", 200, ""), ("ready", 200, "")])
    assert len({line["client"] for line in lines}) == 3  # two keys, and the address of who had none
    assert {line.get("mode") for line in lines if line.get("policy") == "main"} == {"observe"}
    assert [line["would_refuse"] for line in lines if "would_refuse" in line] == [["rate_limit"]]


def test_the_configuration_page_shows_no_secret(busy):
    status, page = busy.admin_get("/config")
    config = json.loads(page)
    assert status == 200 and config["policies"]["gold"]["filters"][1] == {"top_k": {"k": 1, "scores": "hide"}}
    assert config["limits"]["max_body"] in (8388608, "8MiB")
    names = open(busy.path("pseudonym.key")).read()
    for secret in (busy.key, busy.gold, names, hashlib.sha256(busy.key.encode()).hexdigest(), "alice", "bob"):
        assert secret not in page


def test_admin_answers_get_only(busy):
    assert busy.admin_get("/")[0] == busy.admin_get("/v2/models/m/infer")[0] == 404
    with harness.socket.create_connection(("127.0.0.1", busy.admin), timeout=harness.PATIENCE) as s:
        s.sendall(b"POST /config HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert harness.read_answer(s)[0] == 405
