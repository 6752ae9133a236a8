"""TLS: what the listener offers is the profile and no more; what is said over it is what would be
said in clear; and an upstream that cannot prove itself is told nothing."""
import concurrent.futures
import hashlib
import http.client
import io
import os
import select
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from certs import RSA, Authority
from harness import PATIENCE, Upstream, http_answer, read_from, read_to_end, run, wait_for
from http1_corpus import CORPUS

TLS12 = {"%s-%s" % (exchange, suite) for exchange in ("ECDHE-ECDSA", "ECDHE-RSA")
         for suite in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")}
TLS13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
RELAY = dict(workers=1, anonymous="allow", policy="bodies: relay, filters: []")
LISTENER = ", tls: {cert: cert.pem, key: key.pem}"
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
MIB = 1 << 20
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def echo():
    u = Upstream(lambda request: http_answer(request[1]))
    yield u
    u.close()


def install(gate, issued):
    for source, name in zip(issued, ("cert.pem", "key.pem")):
        shutil.copy(source, gate.path(name))
    os.chmod(gate.path("key.pem"), 0o600)


@pytest.fixture(scope="module")
def gate(make_shared_gate, authority, echo):
    g = make_shared_gate(echo.url, start=False, listener=LISTENER, **RELAY)
    install(g, authority.issue())
    return g.start()


@pytest.fixture
def trust(authority):
    return ssl.create_default_context(cafile=authority.ca)


def anything():
    """A client that takes what no one should."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    c.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    return c


def post(body=b"{}", more=b""):
    return INFER + b"Content-Length: %d\r\n%s\r\n" % (len(body), more) + body


def alert(gate, client):
    """What the gate says when it refuses the handshake."""
    with pytest.raises(ssl.SSLError) as e:
        gate.connect(tls=client).close()
    return str(e.value)


def read_all(sock):
    """Everything until the end, however it comes."""
    got = b""
    try:
        while part := sock.recv(65536):
            got += part
    except ConnectionError:
        pass
    return got


# The profile.

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_work(gate, trust, version):
    trust.minimum_version = trust.maximum_version = version
    with gate.connect(tls=trust) as s:
        assert s.version() == version.name.replace("_", ".")
        s.sendall(post())
        assert read_from(s.makefile("rb"))[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_that_do_not(gate, version):
    client = anything()
    client.maximum_version = version
    assert "TLSV1_ALERT_PROTOCOL_VERSION" in alert(gate, client)


def accepts(gate, suite):
    client = anything()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite + ":@SECLEVEL=0")
    try:
        with gate.connect(tls=client) as s:
            return s.cipher()[0] == suite
    except ssl.SSLError:
        return False


def test_suites_of_tls_1_2(make_gate, authority, gate):
    """Of all that OpenSSL knows, six, with a certificate of either kind."""
    other = make_gate("http://127.0.0.1:1", start=False, listener=LISTENER, **RELAY)
    install(other, authority.issue(kind=RSA))
    other.start()
    every = [c["name"] for c in anything().get_ciphers() if not c["name"].startswith("TLS_")]
    assert len(every) > 50 and TLS12 < set(every)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert {s for g in (gate, other)
                for s, ok in zip(every, pool.map(lambda s: accepts(g, s), every)) if ok} == TLS12


@pytest.mark.parametrize("suite", sorted(TLS13 | {"TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"}))
def test_suites_of_tls_1_3(gate, suite):
    r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % gate.port, "-tls1_3",
                        "-ciphersuites", suite], input=b"", capture_output=True, timeout=PATIENCE)
    assert (b"Cipher is " + suite.encode() in r.stdout) == (suite in TLS13)


@pytest.mark.parametrize("curve, ok", [("X25519", True), ("P-256", True), ("P-384", True),
                                       ("P-521", False), ("X448", False)])
def test_groups(gate, curve, ok):
    r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % gate.port,
                        "-groups", curve], input=b"", capture_output=True, timeout=PATIENCE)
    assert (b"Cipher is (NONE)" not in r.stdout) == ok


def test_the_gate_chooses_the_suite(gate):
    client = anything()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:"
                       "ECDHE-ECDSA-AES128-GCM-SHA256")
    with gate.connect(tls=client) as s:
        assert s.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


@pytest.mark.parametrize("offer, chosen", [
    ([], None), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1")])
def test_alpn(gate, trust, offer, chosen):
    if offer:
        trust.set_alpn_protocols(offer)
    with gate.connect(tls=trust) as s:
        assert s.selected_alpn_protocol() == chosen
        s.sendall(post())
        assert read_from(s.makefile("rb"))[0] == 200


@pytest.mark.parametrize("offer", [["h2"], ["http/1.0", "spdy/3"]])
def test_alpn_of_what_is_not_spoken_is_refused(gate, trust, offer):
    trust.set_alpn_protocols(offer)
    assert "no application protocol" in alert(gate, trust)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed(gate, trust, version):
    trust.minimum_version = trust.maximum_version = version
    with gate.connect(tls=trust) as s:
        s.sendall(post())
        assert read_from(s.makefile("rb"))[0] == 200
        session = s.session
        assert session is None or not session.has_ticket
    with socket.create_connection(("127.0.0.1", gate.port), timeout=PATIENCE) as raw:
        with trust.wrap_socket(raw, server_hostname="localhost", session=session) as s:
            s.sendall(post())
            assert read_from(s.makefile("rb"))[0] == 200 and not s.session_reused


def test_no_renegotiation(gate):
    """s_client asks for one on a line that says R."""
    client = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" % gate.port, "-tls1_2"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = client.communicate(b"R\n", timeout=PATIENCE)
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out
    assert b"Compression: NONE" in out


def test_clear_text_is_not_answered(gate):
    with gate.connect() as s:
        s.sendall(post())
        assert b"HTTP" not in read_all(s)
    assert gate.metric("tls_handshake_failures_total") > 0


def test_handshake_that_stalls_is_cut(gate):
    """After 5 s, whether nothing came or a little all the time."""
    start = time.monotonic()
    silent, slow = gate.connect(), gate.connect()
    slow.settimeout(0.1)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(1000)

    def is_cut():
        nonlocal hello
        try:
            slow.sendall(hello[:1])
            hello = hello[1:]
            return slow.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    wait_for(is_cut, "the slow one is cut")
    assert silent.recv(1) == b""
    assert 4 < time.monotonic() - start < 15


def test_garbage_for_a_hello(gate):
    for garbage in (b"\x16\x03\x01\xff\xff" + bytes(65535), bytes(100), b"\x80\x2e\x01\x03\x01" * 20):
        with gate.connect() as s:
            s.sendall(garbage)
            read_all(s)
    with gate.connect(tls=anything()) as s:
        assert s.version() == "TLSv1.3"


# What is said over it.

@pytest.mark.parametrize("number, data, status", [case for case in CORPUS if case[2] != 200][::4])
def test_framing_over_tls(gate, trust, number, data, status):
    for step in (len(data), 1 if len(data) < 1000 else 997):
        with gate.connect(tls=trust) as s:
            try:
                for at in range(0, len(data), step):
                    s.sendall(data[at:at + step])
            except OSError:
                pass
            assert [answer[0] for answer in read_to_end(s)] == [status]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_bodies_both_ways(gate, trust, version):
    trust.minimum_version = trust.maximum_version = version
    body = os.urandom(8 * MIB)
    c = http.client.HTTPSConnection("localhost", gate.port, timeout=PATIENCE, context=trust)
    for _ in range(2):
        c.request("POST", "/v2/models/m/infer", body)
        r = c.getresponse()
        assert r.status == 200
        assert hashlib.sha256(r.read()).digest() == hashlib.sha256(body).digest()
    c.close()


def exchange(sock, data):
    """Sends and receives by turns, as either goes on, until the gate closes."""
    got, sent = b"", 0
    sock.setblocking(False)
    while True:
        select.select([sock], [sock] if sent < len(data) else [], [], PATIENCE)
        try:
            sent += sock.send(data[sent:sent + 16384]) if sent < len(data) else 0
        except ssl.SSLWantWriteError:
            pass
        try:
            part = sock.recv(1 << 20)
            got += part
            if not part:
                return got
        except ssl.SSLWantReadError:
            pass


@pytest.mark.parametrize("count, size", [(300, 2), (2000, 100), (40, 60000)])
def test_pipelining_over_tls(gate, trust, count, size):
    """More than the gate reads ahead: what TLS holds back meanwhile is not forgotten."""
    bodies = [b"%d" % i + b" " * size for i in range(count)]
    with gate.connect(tls=trust) as s:
        got = exchange(s, b"".join(map(post, bodies)) + INFER + b"Connection: close\r\n\r\n")
    f = io.BytesIO(got)
    assert [read_from(f)[2] for _ in bodies] == bodies


def test_the_end_is_said(gate, trust):
    """close_notify: a cut connection can be told from a finished one."""
    with gate.connect(tls=trust) as s:
        s.sendall(post(more=b"Connection: close\r\n"))
        assert read_from(s.makefile("rb"))[0] == 200
        assert s.recv(1) == b""


# Certificates are replaced.

def serial(gate, trust):
    with gate.connect(tls=trust) as s:
        return int(s.getpeercert()["serialNumber"], 16)


def test_new_connections_get_the_new_certificate(make_gate, authority, trust, echo):
    gate = make_gate(echo.url, start=False, listener=LISTENER, **RELAY)
    first, second = authority.issue(), authority.issue()
    install(gate, first)
    gate.start()
    before = serial(gate, trust)
    with gate.connect(tls=trust) as old:
        f = old.makefile("rb")
        old.sendall(post())
        assert read_from(f)[0] == 200
        install(gate, second)
        gate.reload()
        wait_for(lambda: serial(gate, trust) == before + 1, "the new one is shown")
        old.sendall(post())
        assert read_from(f)[0] == 200
        # One that is broken, or does not fit its key, changes nothing.
        for broken in ((first[0], second[1]), (first[1], second[1])):
            install(gate, broken)
            gate.reload()
            assert gate.metric("config_last_reload_successful") == 0
            assert serial(gate, trust) == before + 1
            code, out, err = run("check", gate.path("policy.yaml"))
            assert (code, out) == (1, "") and "querygate: error: " in err, "check says so before"


# Upstreams.

def server(authority, **issue):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(*authority.issue(**issue))
    return c


def ask(gate, body=b"{}"):
    return gate.request("POST", "/v2/models/m/infer", body, key=False)[::2]


def trusting(authority, name=""):
    return ", tls: {ca: %s%s}" % (authority.ca, name and ", name: " + name)


def test_upstream_that_proves_itself(make_gate, authority):
    """And its connection is reused, in spite of the tickets it sends."""
    upstream = Upstream(lambda request: http_answer(request[1]), tls=server(authority))
    gate = make_gate(upstream.url, upstream=trusting(authority), **RELAY)
    body = os.urandom(8 * MIB)
    assert ask(gate) == (200, b"{}") and ask(gate, body) == (200, body)
    assert [ask(gate)[0] for _ in range(8)] == [200] * 8
    assert upstream.connections == 1


def test_upstream_by_another_name(make_gate, authority):
    seen = []
    context = server(authority, names="DNS:model.internal")
    context.sni_callback = lambda s, name, c: seen.append(name)
    upstream = Upstream(tls=context)
    gate = make_gate(upstream.url, upstream=trusting(authority, "model.internal"), **RELAY)
    assert ask(gate)[0] == 200
    assert seen == ["model.internal"]


def test_upstream_that_does_not_prove_itself_is_told_nothing(make_gate, authority, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    old = server(authority)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    cases = {
        "wrong authority": (server(stranger), trusting(authority)),
        "the system's authorities": (server(authority), ""),
        "wrong name": (server(authority, names="DNS:other.example"), trusting(authority)),
        "wrong address": (server(authority, names="IP:127.0.0.2"), trusting(authority)),
        "name for an address": (server(authority, names="DNS:127.0.0.1"), trusting(authority)),
        "wrong other name": (server(authority), trusting(authority, "model.internal")),
        "part of a name": (server(authority, names="DNS:internal"), trusting(authority, "model.internal")),
        "expired": (server(authority, days=-1), trusting(authority)),
        "TLS 1.1": (old, trusting(authority)),
        "clear text": (None, trusting(authority) + ", connect_timeout: 200ms"),
    }
    for name, (context, options) in cases.items():
        upstream = Upstream(tls=context)
        gate = make_gate(upstream.url.replace("http:", "https:"), upstream=options, **RELAY)
        status, body = ask(gate)
        assert (name, status) == (name, 502 if context else 504)
        assert (b"could not be reached" if context else b"in time") in body
        assert upstream.requests == []
        assert b"POST" not in upstream.received, name


def test_upstream_that_stalls_in_the_handshake_is_504(make_gate, authority):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gate = make_gate("https://127.0.0.1:%d" % silent.getsockname()[1],
                         upstream=trusting(authority) + ", connect_timeout: 200ms", **RELAY)
        assert ask(gate)[0] == 504
