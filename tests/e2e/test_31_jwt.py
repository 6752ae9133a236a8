"""Clients that prove themselves by JSON Web Tokens: tiers, budgets, forgeries, keys that rotate."""
import contextlib
import hashlib
import http.client
import json
import signal
import threading
import time

import pytest

import harness
from harness import query, wait_for
from tokens import AUDIENCE, ISSUER, Key, b64, hmac_by, jwks

RSA, EC, ED = (Key(alg, alg.lower()) for alg in ("RS256", "ES256", "EdDSA"))
OTHERS = {k.alg: Key(k.alg, k.kid) for k in (RSA, EC, ED)}
JWT = "  jwt: {jwks: jwks.json, issuer: \"%s\", audience: %s%s}\n"
TIERS = ", tier: {claim: plan, values: {gold-plan: gold}}"


class JwtGate(harness.Gate):
    """A gate whose clients show tokens; `identify` and `jwt` as in the policy."""

    def write_policy(self, **parts):
        super().write_policy(**parts)
        with open(self.path("policy.yaml")) as f:
            text = f.read()
        text = text.replace("identify: [api_key]", "identify: " + self.parts["identify_"])
        section = JWT % (ISSUER, AUDIENCE, self.parts["jwt"])
        text = text.replace("  api_keys:", section + "  api_keys:")
        if "api_key" not in self.parts["identify_"]:
            text = text.replace("  api_keys: {file: keys.yaml}\n", "")
        self.write("policy.yaml", text)
        self.write("jwks.json", self.parts["keys"])


@contextlib.contextmanager
def jwt_gate(folder, upstream, **parts):
    parts = {"identify_": "[jwt]", "jwt": "", "keys": jwks(RSA, EC, ED), **parts}
    gate = JwtGate(folder, [upstream.url], **parts)
    try:
        yield gate.start()
        gate.stop()
    finally:
        gate.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gate that takes tokens or API keys, and its upstream."""
    upstream = harness.Upstream()
    more = "  wide: {filters: [round: {digits: 1}]}"
    with jwt_gate(tmp_path_factory.mktemp("jwt"), upstream, identify_="[jwt, api_key]", jwt=TIERS,
                  model=", tiers: {gold: wide}", more=more) as gate:
        gate.upstream = upstream
        yield gate
    upstream.close()


WIDE = [0.1, 0.7, 0.2, 0.1]  # harness.SCORES, rounded to one digit


def bearer(token):
    return {"Authorization": "Bearer " + token}


def infer(gate, headers, body=None):
    """(status, object, headers)"""
    status, out, data = gate.request("POST", "/v2/models/m/infer", json.dumps(body or query()),
                                     headers=headers, key=False)
    return status, json.loads(data), out


def scores(answer):
    return next(o["data"] for o in answer["outputs"] if o["name"] == "scores")


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda k: k.alg)
def test_each_algorithm_and_its_tier(shared, key):
    status, answer, _ = infer(shared, bearer(key.token()))
    assert status == 200 and sorted(scores(answer)) == [0, 0, 0, 1]
    status, answer, _ = infer(shared, bearer(key.token(plan="gold-plan")))
    assert status == 200 and scores(answer) == WIDE
    # An unknown plan is no tier.
    status, answer, _ = infer(shared, bearer(key.token(plan="gold")))
    assert status == 200 and sorted(scores(answer)) == [0, 0, 0, 1]


NOW = int(time.time())
GOOD = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 6000}


def changed(token, part, at, to=None):
    """token with one character of a part changed."""
    parts = token.split(".")
    text = parts[part]
    parts[part] = text[:at] + (to or ("A" if text[at] != "A" else "B")) + text[at + 1:]
    return ".".join(parts)


def bad_tokens():
    """(what, token) of what no gate may take."""
    pem = hmac_by(RSA.pem())
    good = ED.token()
    head, payload, signature = good.split(".")
    rsa = RSA.token()
    ec = EC.token()
    text = json.dumps(GOOD)
    nobody = lambda _: b""
    yield "empty", ""
    yield "one part", "abc"
    yield "two parts", head + "." + payload
    yield "no signature", head + "." + payload + "."
    yield "no payload", head + ".." + signature
    yield "no header", "." + payload + "." + signature
    yield "five parts", ".".join([head, payload, signature, "AAAA", "AAAA"])
    yield "a dot too many", good + "."
    for alg in ("none", "None", "NONE", "nOnE"):
        yield "alg " + alg, ED.token(header={"alg": alg})
        yield "alg %s, unsigned" % alg, ED.token(header={"alg": alg, "kid": None}, sign=nobody)
    yield "HS256 under the PEM", RSA.token(header={"alg": "HS256"}, sign=pem)
    yield "HS256 under the PEM, no kid", RSA.token(header={"alg": "HS256", "kid": None}, sign=pem)
    yield "RS256 by HMAC", RSA.token(sign=pem)
    for key in (RSA, EC, ED):
        other = OTHERS[key.alg]
        yield key.alg + " of another key", other.token()
        yield key.alg + " without kid of another key", other.token(header={"kid": None})
        yield key.alg + " with its own key", other.token(header={"jwk": other.jwk()})
        yield key.alg + " with kid of another", key.token(
            header={"kid": {"rs256": "es256", "es256": "eddsa", "eddsa": "rs256"}[key.kid]})
        for alg in ("RS256", "ES256", "EdDSA"):
            if alg != key.alg:
                yield "%s that says %s" % (key.alg, alg), key.token(header={"alg": alg})
                yield "%s that says %s, no kid" % (key.alg, alg), key.token(
                    header={"alg": alg, "kid": None})
    yield "RS384", RSA.token(header={"alg": "RS384"})
    yield "PS256", RSA.token(header={"alg": "PS256"})
    yield "unknown kid", ED.token(header={"kid": "x"})
    yield "kid is a path", ED.token(header={"kid": "../../../../dev/null"})
    yield "kid is a number", ED.token(header={"kid": 1})
    yield "jku", ED.token(header={"jku": "http://127.0.0.1:%d/jwks" % NOW})
    yield "x5u", ED.token(header={"x5u": "https://evil.example/"})
    yield "x5c", ED.token(header={"x5c": ["MII"]})
    yield "crit", ED.token(header={"crit": ["exp"]})
    yield "b64", ED.token(header={"b64": False, "crit": ["b64"]})
    yield "type", ED.token(header={"typ": "logout+jwt"})
    yield "a bit of the signature", changed(good, 2, 3)
    yield "a bit of the payload", changed(good, 1, 3)
    yield "a bit of the header", changed(good, 0, 20)
    yield "signature of another", head + "." + payload + "." + ED.token("bob").split(".")[2]
    yield "signature cut", good[:-4]
    yield "signature of zeros", ec[:ec.rindex(".") + 1] + b64(bytes(64))
    yield "signature in DER", EC.token(sign=lambda t: b"\x30\x44\x02\x20" + EC.sign(t))
    yield "padded", rsa + "=="
    yield "a second spelling", good[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[good[-1]]
    yield "plain base64", good[:-8] + "+/+/+/+A"
    yield "two algs", ED.of_text('{"alg":"none","alg":"EdDSA"}', text)
    yield "an escaped alg", ED.of_text('{"\\u0061lg":"none"}', text)
    yield "header a list", ED.of_text('[]', text)
    yield "header no JSON", ED.of_text('alg', text)
    yield "header too large", ED.token(header={"x": "y" * 2000})
    yield "deep header", ED.of_text('{"alg":"EdDSA","x":' + "[" * 400 + "]" * 400 + "}", text)
    yield "payload a list", ED.of_text('{"alg":"EdDSA"}', "[%s]" % text)
    yield "payload text", ED.of_text('{"alg":"EdDSA"}', '"alice"')
    yield "payload cut", ED.of_text('{"alg":"EdDSA"}', text[:-1])
    yield "deep payload", ED.token(x=json.loads("[" * 100 + "]" * 100))
    yield "two ends", ED.of_text('{"alg":"EdDSA"}', text[:-1] + ', "exp": %d}' % (NOW + 9))
    yield "two subjects", ED.of_text('{"alg":"EdDSA"}', text[:-1] + ', "su\\u0062": "bob"}')
    yield "no end", ED.token(exp=None)
    for end in ("%d" % (NOW + 600), True, [NOW + 600], {}, 1e300, -1, 10**17, NOW * 1000 + 10**9):
        yield "end %.20s" % json.dumps(end), ED.token(exp=end)
    yield "infinite end", ED.of_text('{"alg":"EdDSA"}', text.replace(str(NOW + 6000), "1e999"))
    yield "not begun", ED.token(nbf=NOW + 3000)
    yield "begin is text", ED.token(nbf="0")
    yield "made in the future", ED.token(iat=NOW + 3000)
    for iss in (None, ISSUER + "/", ISSUER + ".evil.example", "https://issuer", [ISSUER], 7, ""):
        yield "issuer %s" % iss, ED.token(iss=iss)
    for aud in (None, "gate", AUDIENCE + "2", [], ["x"], [AUDIENCE, 1], [[AUDIENCE]],
                {"0": AUDIENCE}):
        yield "audience %s" % aud, ED.token(aud=aud)
    for sub in (None, "", 7, True, ["alice"], "a" * 129, "a\0b", "a\nb"):
        yield "subject %.9s" % repr(sub), ED.token(sub)
    yield "tier is a number", ED.token(plan=1)
    yield "bound to a key", ED.token(cnf={"jkt": "x"})
    yield "expired, forged", OTHERS["EdDSA"].token(exp=NOW - 6000)
    yield "expired, another audience", ED.token(exp=NOW - 6000, aud="x")


BAD = list(bad_tokens())


def refused(gate, headers, said="invalid token"):
    """Whether the gate says this, and nothing more, with 401."""
    status, answer, out = infer(gate, headers)
    return (status == 401 and answer == {"error": said} and
            out.get_all("WWW-Authenticate")[0] == 'Bearer error="invalid_token"')


def test_nothing_shown_is_no_invalid_token(shared):
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"X-API-Key": "x" * 32}):
        status, _, out = infer(shared, headers)
        assert (status, out.get_all("WWW-Authenticate")[0]) == (401, "Bearer")


def test_the_log_says_which_check_failed(tmp_path, upstream):
    reasons = {
        "malformed": "abc", "algorithm not taken": ED.token(header={"alg": "none"}),
        "of another type": ED.token(header={"typ": "logout+jwt"}),
        "brings a key or an extension": ED.token(header={"jku": "http://127.0.0.1/"}),
        "kid is no text": ED.token(header={"kid": 1}), "no such key": ED.token(header={"kid": "x"}),
        "wrong signature": OTHERS["EdDSA"].token(), "wrong issuer": ED.token(iss="x"),
        "wrong audience": ED.token(aud="x"), "names no client": ED.token(""),
        "not yet good": ED.token(nbf=NOW + 3000), "expired": ED.token(exp=NOW - 3000),
        "a date is missing or is none": ED.token(exp=None), "bound to a key": ED.token(cnf={}),
        "the tier is no text": ED.token(plan=1),
    }
    with jwt_gate(tmp_path, upstream, jwt=TIERS, model=", tiers: {gold: main}", workers=1) as gate:
        for reason, token in reasons.items():
            said = "expired token" if reason == "expired" else "invalid token"
            assert refused(gate, bearer(token), said)
        wait_for(lambda: len(gate.log_lines()) == len(reasons), "they are in the log")
        assert [line["reason"] for line in gate.log_lines()] == ["token: " + r for r in reasons]


def test_bad_tokens(shared):
    before = len(shared.upstream.requests)
    assert len(BAD) > 100
    assert [what for what, token in BAD if not refused(shared, bearer(token))] == []
    # A token that does not hold is not made good by a key that would.
    assert [what for what, token in BAD
            if not refused(shared, shared.headers(**bearer(token)))] == []
    assert len(shared.upstream.requests) == before


def test_expired_tokens(shared):
    for token in (RSA.token(exp=NOW - 6000), EC.token(exp=0), ED.token(exp=NOW - 100.5)):
        assert refused(shared, bearer(token), "expired token")


def test_a_token_too_long_for_a_header(shared):
    status, _, _ = infer(shared, bearer(ED.token(x="y" * 7000)))
    assert status == 431
    assert infer(shared, bearer(ED.token(x="y" * 5000)))[0] == 200


def raw(gate, *lines, path="/v2/models/m/infer"):
    """(status, headers, body) of a query with these header lines."""
    body = json.dumps(query()).encode()
    head = ["POST %s HTTP/1.1" % path, "Host: x", "Content-Length: %d" % len(body), *lines, "", ""]
    with gate.connect() as s:
        s.sendall("\r\n".join(head).encode("latin-1") + body)
        return harness.read_answer(s)


def test_how_the_header_is_written(shared):
    token, other = ED.token(), RSA.token()
    wanted = {"error": "a bearer token or an API key is needed"}
    invalid = {"error": "invalid token"}
    for line in ("Authorization: Bearer ", "authorization: bearer ", "AUTHORIZATION: BEARER    "):
        assert raw(shared, line + token)[0] == 200
    for lines in (["Authorization: Bearer"], ["Authorization: Bearer\t" + token],
                  ["Authorization: Bearer " + token + " " + token],
                  ["Authorization: Bearer," + token], ["Authorization: Bearer \"" + token + "\""],
                  ["Authorization: Bearer " + token, "Authorization: Bearer " + token],
                  ["Authorization: Bearer " + token, "Authorization: Bearer " + other],
                  ["Authorization: Basic YTpi", "Authorization: Bearer " + token],
                  ["Authorization: Bearer " + token + ", Bearer " + other]):
        status, _, body = raw(shared, *lines)
        assert (status, json.loads(body)) == (401, invalid), lines
    # Another scheme, or another place, is no token at all.
    for lines in (["Authorization: Basic YTpi"], ["Authorization: " + token],
                  ["Authorization: Bearer2 " + token], ["Authorization: Token " + token],
                  ["X-Authorization: Bearer " + token], ["Cookie: access_token=" + token]):
        status, _, body = raw(shared, *lines)
        assert (status, json.loads(body)) == (401, wanted), lines
        assert raw(shared, *lines, "X-API-Key: " + shared.key)[0] == 200
    for argument in ("access_token", "token", "jwt"):
        status, _, body = raw(shared, path="/v2/models/m/infer?%s=%s" % (argument, token))
        assert status in (400, 401), argument


def test_nothing_of_a_token_gets_out(shared):
    token = ED.token("subject-marker-5e1f", plan="gold-plan", email="claim-marker-77aa")
    assert infer(shared, bearer(token))[0] == 200
    assert refused(shared, bearer(changed(token, 2, 5)))
    text = shared.admin_get("/metrics")[1] + shared.admin_get("/config")[1] + shared.stderr()
    wait_for(lambda: any(line["status"] == 401 for line in shared.log_lines()), "it was logged")
    with open(shared.log) as f:
        text += f.read()
    text += bytes(shared.upstream.received).decode("latin-1")
    for marker in ("subject-marker", "claim-marker", *token.split(".")):
        assert marker not in text and b64(marker.encode()) not in text
    assert "k1:" in text


def test_the_subject_is_who_is_counted(tmp_path, upstream):
    policy = "filters: [{rate_limit: {queries: 1/h, burst: 2}}]"
    with jwt_gate(tmp_path, upstream, policy=policy) as gate:
        # Two algorithms, ids and bodies that say otherwise: one client.
        assert infer(gate, bearer(RSA.token(jti="1")))[0] == 200
        assert infer(gate, bearer(ED.token(jti="2")), query(parameters={"user": "x"}))[0] == 200
        assert infer(gate, bearer(EC.token(jti="3")), query(parameters={"user": "y"}))[0] == 429
        assert infer(gate, {**bearer(ED.token()), "X-User": "bob"})[0] == 429
        assert infer(gate, bearer(ED.token("bob")))[0] == 200
        assert infer(gate, bearer(ED.token("Alice")))[0] == 200


def test_another_header(tmp_path, upstream):
    with jwt_gate(tmp_path, upstream, jwt=", header: X-Token, algorithms: [EdDSA]") as gate:
        assert infer(gate, {"X-Token": ED.token()})[0] == 200
        assert infer(gate, {"X-Token": "Bearer " + ED.token()})[0] == 401
        assert infer(gate, {"X-Token": RSA.token()})[0] == 401
        status, answer, out = infer(gate, bearer(ED.token()))
        assert (status, answer) == (401, {"error": "a bearer token is needed"})
        assert out.get("WWW-Authenticate") is None


def post(connection, token):
    """The status of a query on a connection that stays open."""
    connection.request("POST", "/v2/models/m/infer", json.dumps(query()), bearer(token))
    r = connection.getresponse()
    r.read()
    return r.status


def all_go_on(clients):
    """Waits until each has been answered some more; each worker is then in the newest policy that
    the gate had when this was called."""
    served = [len(c.answers) for c in clients]
    wait_for(lambda: all(len(c.answers) > n + 3 for c, n in zip(clients, served)), "all go on")


def test_a_token_ends_on_an_open_connection(tmp_path, upstream):
    with jwt_gate(tmp_path, upstream, jwt=", leeway: 0s") as gate:
        c = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=harness.PATIENCE)
        end = int(time.time()) + 3
        token = ED.token(exp=end)
        assert post(c, token) == 200
        wait_for(lambda: post(c, token) == 401, "the token ended")
        assert time.time() >= end
        assert post(c, ED.token()) == 200
        c.close()


class Client(threading.Thread):
    """Asks all the time on one connection, with the token of the moment; remembers each answer as
    (when it was asked, status).  Only a refusal, which leaves the query's body unread, may end the
    connection."""

    def __init__(self, gate, token):
        super().__init__(daemon=True)
        self.gate, self.token = gate, token
        self.answers, self.trouble = [], None
        self.over = threading.Event()

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.gate.port, timeout=harness.PATIENCE)
        try:
            c.connect()
            c.auto_open = 0  # a connection that is lost is not made again
            while not self.over.is_set():
                asked = time.monotonic()
                self.answers.append((asked, post(c, self.token)))
                if self.answers[-1][1] == 401:
                    c.close()
                    c.connect()
        except (OSError, http.client.HTTPException) as e:
            self.trouble = repr(e)
        finally:
            c.close()


def test_keys_rotate_on_open_connections(tmp_path, upstream):
    old, new = Key("EdDSA", "old"), Key("ES256", "new")
    with jwt_gate(tmp_path, upstream, workers=4, keys=jwks(old)) as gate:
        before, after = old.token(), new.token()
        clients = [Client(gate, before) for _ in range(12)]
        for c in clients:
            c.start()
        all_go_on(clients)
        assert infer(gate, bearer(after))[0] == 401
        # The new key joins; those who have the new token go on with it; the old key leaves.
        gate.reload(keys=jwks(old, new))
        all_go_on(clients)
        for c in clients[:6]:
            c.token = after
        all_go_on(clients)
        gate.write_policy(keys=jwks(new))
        told = time.monotonic()
        gate.process.send_signal(signal.SIGHUP)
        for c in clients[6:]:
            wait_for(lambda: c.answers[-1][1] == 401, "the old token is refused")
        # Who connects again may meet a worker that has yet to hear of it; then none is left.
        wait_for(lambda: all({s for _, s in c.answers[-20:]} == {401} for c in clients[6:]),
                 "every worker refuses it")
        everywhere = time.monotonic()
        took = everywhere - told
        all_go_on(clients)
        for c in clients:
            c.over.set()
        for c in clients:
            c.join(harness.PATIENCE)
        assert [c.trouble for c in clients] == [None] * 12
        for c in clients[:6]:
            assert {status for _, status in c.answers} == {200}
        for c in clients[6:]:
            statuses = [status for _, status in c.answers]
            ended = statuses.index(401)
            assert set(statuses[:ended]) == {200}
            assert {s for asked, s in c.answers if asked > everywhere} == {401}
        assert took < (10 if harness.SANITIZED else 3), took


def test_a_broken_jwks_changes_nothing(tmp_path, upstream):
    with jwt_gate(tmp_path, upstream) as gate:
        for broken in ("", "{", '{"keys": []}', json.dumps({"keys": [{**ED.jwk(), "d": "AAAA"}]})):
            failed = gate.metric("config_reloads_total", result="failed")
            gate.reload(keys=broken)
            assert gate.metric("config_reloads_total", result="failed") == failed + 1
            assert infer(gate, bearer(RSA.token()))[0] == 200
        assert "'d' is a secret part of a key" in gate.stderr()


def version(gate):
    """The policy's version: `cat policy.yaml jwks.json | sha256sum`."""
    with open(gate.path("policy.yaml"), "rb") as policy, open(gate.path("jwks.json"), "rb") as keys:
        return hashlib.sha256(policy.read() + keys.read()).hexdigest()[:16]


def test_a_new_jwks_is_a_new_policy_version(tmp_path, upstream):
    with jwt_gate(tmp_path, upstream) as gate:
        versions = [version(gate)]
        assert infer(gate, bearer(ED.token()))[0] == 200
        gate.reload(keys=jwks(ED))
        versions.append(version(gate))
        wait_for(lambda: infer(gate, bearer(RSA.token()))[0] == 401, "the key is gone")
        wait_for(lambda: {line["policy_sha256"] for line in gate.log_lines()} == set(versions),
                 "both versions are in the log")
        assert versions[0] != versions[1]
