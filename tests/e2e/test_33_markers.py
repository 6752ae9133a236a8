"""What clients are called, what they show, send and get is in no output: every kind of identity,
good and bad, with marked names, keys, bodies and answers; then every output is searched."""
import base64
import hashlib
import json
import os
import shutil
import signal
import ssl

import pytest

from certs import Authority
from harness import Upstream, http_answer, query, read_answer, run, wait_for
from redis_servers import redis_server  # noqa: F401
from test_32_mtls import Clients
from tokens import AUDIENCE, ISSUER, Key, jwks

CLIENTS = """  identify: [mtls, jwt, api_key, address]
  mtls: {name: san_uri}
  jwt: {jwks: jwks.json, issuer: "%s", audience: "%s"}
  api_keys: {file: keys.yaml}
  anonymous: allow
  trusted_proxies: [127.0.0.1]
  forwarded: {header: X-Forwarded-For}
""" % (ISSUER, AUDIENCE)
MORE = """store: {url: "%s", timeout: 2s}
alerts: {sinks: [{file: {path: alerts.jsonl, format: ecs}}]}
"""
LIMIT = "filters: [{rate_limit: {queries: 1/h, burst: 2}}, {top_k: {}}]"


def marker(what):
    """Told apart from all else, and fit for a name, a header and a URI."""
    return "mark-%s-%s" % (what, hashlib.sha256(what.encode()).hexdigest()[:20])


MARKS = {what: marker(what) for what in (
    "key-id", "key-secret", "bad-key", "uri", "cn", "ou", "sub", "claim", "kid", "bad-sub", "user",
    "input", "answer", "error", "header", "agent", "query", "model", "other-model", "name")}
ADDRESS, NETWORK = "203.0.113.77", "2001:db8:77aa:"
NUMBERS = ["731.52917", "0.2718281"]


def spellings(text):
    """The text, its hex, its base64 at any place, its digests."""
    raw = text.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + raw)
        inner = whole[4 if shift else 0:-4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, raw)
        yield digest.hexdigest().encode()
        yield base64.b64encode(digest.digest())[:-4]


def found(outputs):
    """(output, what) of each marker that is in an output."""
    wanted = list(MARKS.items()) + [("address", ADDRESS), ("network", NETWORK)] + [
        ("number", n) for n in NUMBERS]
    return {(where, what) for where, data in outputs.items() for what, text in wanted
            for spelling in spellings(text) if spelling in data}


def test_the_search_finds():
    text = MARKS["sub"].encode()
    for data in (text, text.hex().encode(), base64.b64encode(b"x" + text),
                 base64.b64encode(b"xy" + text), base64.urlsafe_b64encode(text + b"z"),
                 hashlib.sha256(text).hexdigest().encode()):
        assert found({"it": b"{" + data + b"}"}) == {("it", "sub")}


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server").mkdir()
    return Authority(tmp_path / "server")


@pytest.fixture
def clients(tmp_path):
    return Clients(tmp_path / "clients")


def prepare(make_gate, upstream, server, clients, key, redis):
    gate = make_gate(upstream.url, start=False, policy=LIMIT, more=MORE % redis.url,
                     listener=", tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem, "
                              "client_certificate: optional}")
    for source, name in zip((*server.issue(), clients.ca), ("cert.pem", "key.pem", "ca.pem")):
        shutil.copy(source, gate.path(name))
        os.chmod(gate.path(name), 0o600)
    gate.write("jwks.json", jwks(key))
    gate.key = MARKS["key-secret"]
    gate.keys = [(MARKS["key-id"], gate.key, None)]
    gate.write_policy()
    with open(gate.path("policy.yaml")) as f:
        text = f.read()
    before = text[text.index("  identify:"):text.index("  pseudonym_key:")]
    gate.write("policy.yaml", text.replace(before, CLIENTS))
    gate.start()
    wait_for(lambda: gate.metric("store_up") == 1, "the gate has its store")
    return gate


def head(path, *lines):
    common = ("Host: a", "User-Agent: " + MARKS["agent"], "X-Anything: " + MARKS["header"],
              "Cookie: c=" + MARKS["user"])
    return "\r\n".join(("POST %s?q=%s HTTP/1.1" % (path, MARKS["query"]), *common, *lines)) + "\r\n"


def ask(gate, context, *lines, path="/v2/models/m/infer", body=None):
    data = json.dumps(body or query(id=MARKS["user"], parameters={"user": MARKS["user"]},
                                    values=[float(n) for n in NUMBERS] * 2)).encode()
    with gate.connect(tls=context) as s:
        s.sendall(head(path, *lines).encode() + b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        return read_answer(s)[0]


def answers():
    """A model server's: good, with an undeclared output, and an error that quotes the query."""
    good = json.dumps({"model_name": "m", "outputs": [
        {"name": "scores", "datatype": "FP32", "shape": [1, 2],
         "data": [float(n) for n in NUMBERS]},
        {"name": "secret", "datatype": "BYTES", "shape": [1], "data": [MARKS["answer"]]}]}).encode()
    bad = json.dumps({"error": MARKS["error"]}).encode()
    count = 0

    def answer(request):
        nonlocal count
        count += 1
        if count % 3 == 0:
            return http_answer(bad, "400 " + MARKS["error"])
        return http_answer(good if count % 3 == 1 else b"{" + MARKS["answer"].encode())
    return answer


def everything(gate, redis):
    outputs = {name: gate.admin_get(name)[1].encode()
               for name in ("/metrics", "/config", "/readyz")}
    for name in ("access.log", "stderr", "alerts.jsonl"):
        with open(gate.path(name), "rb") as f:
            outputs[name] = f.read()
    stored = redis.call("KEYS", "*")
    outputs["Redis"] = b"\n".join(k + b" " + redis.call("DUMP", k) for k in stored)
    outputs["Redis' connections"] = redis.call("CLIENT", "LIST")
    return outputs, stored


def test_nothing_of_a_client_is_in_any_output(make_gate, server, clients,
                                              redis_server):  # noqa: F811
    upstream = Upstream(answers())
    key = Key("ES256", MARKS["kid"])
    gate = prepare(make_gate, upstream, server, clients, key, redis_server)
    plain = ssl.create_default_context(cafile=server.ca)

    def shows(issued):
        c = ssl.create_default_context(cafile=server.ca)
        c.load_cert_chain(*issued)
        return c

    subject = "/CN=%s/OU=%s" % (MARKS["cn"], MARKS["ou"])
    good = shows(clients.client("URI:spiffe://corp/" + MARKS["uri"], subject))
    nameless = shows(clients.client("DNS:%s.example" % MARKS["name"], subject))
    token = key.token(MARKS["sub"], roles=MARKS["claim"])
    forged = Key("ES256", MARKS["kid"]).token(MARKS["bad-sub"])
    expired = key.token(MARKS["bad-sub"], exp=1)
    bearer = "Authorization: Bearer "
    who = {
        "mtls": (good,), "jwt": (plain, bearer + token), "key": (plain, "X-API-Key: " + gate.key),
        "address": (plain, "X-Forwarded-For: " + ADDRESS),
        "network": (plain, "X-Forwarded-For: [%s1::5]:99" % NETWORK),
    }
    for kind, (context, *lines) in who.items():
        statuses = [ask(gate, context, *lines) for _ in range(4)]
        assert (kind, statuses[2:], 401 in statuses) == (kind, [429, 429], False)
    for context, *lines in ((nameless,), (plain, bearer + forged), (plain, bearer + expired),
                            (plain, bearer + MARKS["bad-sub"]),
                            (plain, "X-API-Key: " + MARKS["bad-key"])):
        assert ask(gate, context, "X-Forwarded-For: " + ADDRESS, *lines) == 401
    ask(gate, plain, path="/v2/models/no-%s/infer" % MARKS["model"])  # one that no row matches
    ask(gate, plain, path="/v2/models/m/%s" % MARKS["other-model"])
    ask(gate, plain, body={"inputs": MARKS["input"]})
    ask(gate, plain, body=query(values=[MARKS["input"]] * 4))
    ask(gate, plain, "Bad Header: " + MARKS["header"])
    with gate.connect(tls=plain) as s:
        s.sendall(b"%s / HTTP/1.1\r\n\r\n" % MARKS["header"].encode())
        read_answer(s)
    # Alerts: a reload that fails, a store that is lost.
    gate.write("keys.yaml", "keys: [{id: %s, sha256: %s}, {%s: 1, %s: 2}]\n" % (
        MARKS["key-id"], MARKS["key-secret"], MARKS["key-id"], MARKS["key-id"]))
    gate.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gate.metric("config_reloads_total", result="failed") == 1, "a reload fails")
    redis_server.pause()
    ask(gate, *who["key"])
    wait_for(lambda: gate.metric("store_up") == 0, "the store is lost")
    redis_server.resume()
    wait_for(lambda: gate.metric("store_up") == 1, "and found")
    wait_for(lambda: len(open(gate.path("alerts.jsonl")).readlines()) >= 3, "the alerts")
    wait_for(lambda: len(gate.log_lines()) >= 31, "the log is whole")
    outputs, stored = everything(gate, redis_server)
    assert len(stored) >= len(who) and all(len(data) > 0 for data in outputs.values())
    assert found(outputs) == set()
    # They are there under other names.
    names = {"mtls": "spiffe://corp/" + MARKS["uri"], "jwt": MARKS["sub"], "key": MARKS["key-id"],
             "address": ADDRESS}
    for kind, ident in names.items():
        name = pseudonym(gate, kind, ident)
        assert name in outputs["access.log"], kind
    upstream.close()


def pseudonym(gate, kind, ident):
    """The policy as it was read, with a list of keys that is good again."""
    gate.write("keys.yaml", "keys: []\n")
    code, out, err = run("pseudonym", "-c", gate.path("policy.yaml"), "--kind", kind, "--id", ident)
    assert code == 0, err
    return out.strip().encode()
