"""Client certificates: whoever cannot show one that holds gets no byte through, in the handshake
and, once a policy has changed, on connections that are open."""
import os
import shutil
import socket
import ssl

import pytest

from certs import Authority, openssl
from harness import Upstream, http_answer, read_answer, run, wait_for

POST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
RELAY = "bodies: relay, filters: []"
MTLS = "mtls: {name: san_uri}"

CA_CONF = """
[ca]
default_ca = main
[main]
database = %(folder)s/index.txt
crlnumber = %(folder)s/crlnumber
default_md = sha256
default_crl_days = 2
"""


class Clients(Authority):
    """An authority for clients, which can revoke."""

    def __init__(self, folder):
        os.makedirs(str(folder))
        super().__init__(folder)
        for name, text in (("ca.conf", CA_CONF % {"folder": folder}), ("index.txt", ""),
                           ("crlnumber", "01\n")):
            with open(self.path(name), "w") as f:
                f.write(text)
        self.list()

    def client(self, names="URI:spiffe://corp/a", subject="/CN=client", usage="clientAuth",
               days=2, kind=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """(certificate file, key file)"""
        self.count += 1
        cert, key, request = (self.path("%d.%s" % (self.count, e)) for e in ("pem", "key", "csr"))
        more = ["-addext", "subjectAltName=" + names] if names else []
        if usage:
            more += ["-addext", "extendedKeyUsage=" + usage]
        openssl("req", *kind, "-utf8", "-nodes", "-keyout", key, "-out", request, "-subj", subject,
                *more)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key,
                "-set_serial", str(2000 + self.count), "-copy_extensions", "copy",
                "-days", str(days), "-out", cert)
        return cert, key

    def list(self, *dates):
        openssl("ca", "-config", self.path("ca.conf"), "-gencrl", "-keyfile", self.key,
                "-cert", self.ca, "-out", self.path("crl.pem"), *dates)
        return self.path("crl.pem")

    def under(self, root):
        """Becomes an authority that the root vouches for."""
        request = self.path("ca.csr")
        openssl("req", "-new", "-key", self.key, "-subj", "/CN=below", "-out", request, "-addext",
                "basicConstraints=critical,CA:TRUE")
        openssl("x509", "-req", "-in", request, "-CA", root.ca, "-CAkey", root.key, "-set_serial",
                "77", "-copy_extensions", "copy", "-days", "2", "-out", self.ca)
        self.list()
        return self

    def revoke(self, cert):
        openssl("ca", "-config", self.path("ca.conf"), "-keyfile", self.key, "-cert", self.ca,
                "-revoke", cert)
        return self.list()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Clients(tmp_path_factory.mktemp("clients") / "ca")


@pytest.fixture(scope="module")
def echo():
    u = Upstream(lambda request: http_answer(request[1]))
    yield u
    u.close()


def make(make_gate, upstream, server, clients, identify="[mtls]", more=MTLS, tls="", start=True,
         **parts):
    """A gate whose clients are identified so: the harness' template with other clients."""
    gate = make_gate(upstream.url, start=False, listener=", tls: {cert: cert.pem, key: key.pem, "
                     "client_ca: ca.pem%s}" % tls, policy=RELAY, **parts)
    cert, key = server.issue()
    install(gate, cert, "cert.pem")
    install(gate, key, "key.pem")
    install(gate, clients.ca, "ca.pem")
    install(gate, clients.list(), "crl.pem")
    write = gate.write_policy

    def write_policy(**changed):
        write(**changed)
        text = open(gate.path("policy.yaml")).read()
        before = text[text.index("  identify:"):text.index("  pseudonym_key:")]
        keys = "  api_keys: {file: keys.yaml}\n" if "api_key" in identify else ""
        gate.write("policy.yaml", text.replace(
            before, "  identify: %s\n%s  anonymous: %s\n%s" % (
                identify, keys, "allow" if "address" in identify else "deny",
                "  %s\n" % more if more else "")))

    gate.write_policy = write_policy
    gate.write_policy()
    return gate.start() if start else gate


def install(gate, source, name):
    shutil.copy(source, gate.path(name + ".new"))
    os.chmod(gate.path(name + ".new"), 0o600)
    os.rename(gate.path(name + ".new"), gate.path(name))


def client_of(server, issued=None, version=None):
    c = ssl.create_default_context(cafile=server.ca)
    if issued:
        c.load_cert_chain(*issued)
    if version:
        c.minimum_version = c.maximum_version = version
    return c


def status(sock):
    sock.sendall(POST)
    answer = read_answer(sock)
    return answer[0] if answer else None


def ask(gate, client):
    """The status of one query on a connection of its own; None: it is not answered."""
    try:
        with gate.connect(tls=client) as s:
            return status(s)
    except (ssl.SSLError, ConnectionError):
        return None


def logged(gate, client):
    """The line that one query on a connection of its own leaves in the log."""
    before = len(gate.log_lines())
    got = ask(gate, client)
    wait_for(lambda: len(gate.log_lines()) > before, "it is in the log")
    line = gate.log_lines()[-1]
    assert line["status"] == got
    return line


def pseudonym(gate, ident):
    code, out, err = run("pseudonym", "-c", gate.path("policy.yaml"), "--kind", "mtls",
                         "--id", ident)
    assert code == 0, err
    return out.strip()


@pytest.fixture(scope="module")
def gate(make_shared_gate, echo, server, clients):
    revoked = clients.client()
    clients.revoke(revoked[0])
    g = make(make_shared_gate, echo, server, clients, tls=", client_crl: crl.pem")
    g.revoked = revoked
    return g


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_names_the_client(gate, server, clients, version):
    line = logged(gate, client_of(server, clients.client(), version))
    assert (line["status"], line["client"]) == (200, pseudonym(gate, "spiffe://corp/a"))


FAULTS = {"none": "none", "expired": "expired", "wrong authority": "unknown authority",
          "self-signed": "unknown authority", "wrong usage": "not for clients",
          "revoked": "revoked", "weak key": "weak key", "too long a chain": "chain too long"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", FAULTS)
def test_what_does_not_hold_gets_no_byte_through(gate, echo, server, clients, tmp_path, case,
                                                 version):
    other = Clients(tmp_path / "other")
    issued = {
        "none": lambda: None,
        "expired": lambda: clients.client(days=-1),
        "wrong authority": other.client,
        "self-signed": lambda: (other.ca, other.key),
        "wrong usage": lambda: clients.client(usage="serverAuth"),
        "revoked": lambda: gate.revoked,
        "weak key": lambda: clients.client(kind=("-newkey", "rsa:1024")),
        "too long a chain": lambda: long_chain(clients, tmp_path),
    }[case]()
    client = client_of(server)
    if case == "weak key":
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
    if issued:
        client.load_cert_chain(*issued)
    client.minimum_version = client.maximum_version = version
    faults = lambda: [x["reason"] for x in gate.log_lines() if x["status"] == 0]
    before = len(echo.received), gate.metric("tls_handshake_failures_total"), len(faults())
    assert ask(gate, client) is None
    wait_for(lambda: gate.metric("tls_handshake_failures_total") > before[1], "it is counted")
    wait_for(lambda: len(faults()) > before[2], "it is in the log")
    assert faults()[before[2]:] == ["certificate: " + FAULTS[case]]
    assert len(echo.received) == before[0]


def long_chain(clients, folder):
    """A certificate six authorities away from the root."""
    above, above_key, chain = clients.ca, clients.key, ""
    for i in range(6):
        cert, key, request = (str(folder / ("i%d.%s" % (i, e))) for e in ("pem", "key", "csr"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                key, "-out", request, "-subj", "/CN=i%d" % i, "-addext",
                "basicConstraints=critical,CA:" + ("TRUE" if i < 5 else "FALSE"))
        openssl("x509", "-req", "-in", request, "-CA", above, "-CAkey", above_key, "-set_serial",
                str(i + 1), "-copy_extensions", "copy", "-days", "2", "-out", cert)
        above, above_key, chain = cert, key, open(cert).read() + chain
    with open(folder / "chain.pem", "w") as f:
        f.write(chain)
    return str(folder / "chain.pem"), above_key


@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_is_resumed(gate, server, clients, version):
    """A resumed one would be a certificate that nobody looked at."""
    client = client_of(server, clients.client(), version)
    with gate.connect(tls=client) as s:
        assert status(s) == 200
        session = s.session
        assert session is None or not session.has_ticket
    with socket.create_connection(("127.0.0.1", gate.port)) as raw:
        with client.wrap_socket(raw, server_hostname="localhost", session=session) as s:
            assert status(s) == 200 and not s.session_reused


# What it says.

NAMES = [
    ("san_uri", "URI:spiffe://corp/team/a", "/CN=x", "spiffe://corp/team/a"),
    ("san_uri", "URI:spiffe://corp/team/a,DNS:a.example", "/CN=x", "spiffe://corp/team/a"),
    ("san_uri", "URI:spiffe://corp/team/a,URI:spiffe://corp/team/b", "/CN=x", None),
    ("san_uri", "DNS:a.example", "/CN=spiffe:\\/\\/corp\\/team\\/a", None),
    ("san_dns", "DNS:A.Example", "/CN=x", "a.example"),
    ("san_email", "email:a@corp.example", "/CN=x", "a@corp.example"),
    ("cn", "DNS:a.example", "/CN=j\u00f6rg", "j\u00f6rg"),
    ("cn", "", "/CN=a/CN=b", None),
    ("cn", "DNS:a.example", "/O=corp", None),
    ("cn", "", "/CN=" + "a" * 64, "a" * 64),
    ("san_uri", "URI:spiffe://corp/" + "a" * 120, "/CN=x", None),
]


def test_names(make_gate, echo, server, clients):
    for kind in ("san_uri", "san_dns", "san_email", "cn"):
        gate = make(make_gate, echo, server, clients, more="mtls: {name: %s}" % kind, workers=1)
        for name, alternatives, subject, ident in NAMES:
            if name != kind:
                continue
            issued = clients.client(alternatives, subject)
            line = logged(gate, client_of(server, issued))
            assert (alternatives, subject, line["status"]) == (
                alternatives, subject, 200 if ident else 401)
            if ident:
                assert line["client"] == pseudonym(gate, ident)


def test_control_characters_in_a_name(make_gate, echo, server, clients, tmp_path):
    """a.example NUL .evil.example: what a careless reader takes for a.example."""
    gate = make(make_gate, echo, server, clients, more="mtls: {name: san_uri}", workers=1)
    hidden = "SEQUENCE:names\n[names]\nuri=IMPLICIT:6,FORMAT:HEX,OCT:%s\n"
    names = (b"spiffe://corp/a\0b", b"spiffe://corp/a\nb", b"spiffe://corp/\xff", b"a\x7fb")
    for i, name in enumerate(names):
        conf, cert = str(tmp_path / "names.conf"), str(tmp_path / ("c%d.pem" % i))
        with open(conf, "w") as f:
            f.write("[v3]\nextendedKeyUsage=clientAuth\nsubjectAltName=ASN1:"
                    + hidden % name.hex())
        _, key = clients.client()
        openssl("req", "-new", "-key", key, "-subj", "/CN=x", "-out", cert + ".csr")
        openssl("x509", "-req", "-in", cert + ".csr", "-CA", clients.ca, "-CAkey", clients.key,
                "-set_serial", str(9000 + i), "-days", "2", "-extfile", conf, "-extensions", "v3",
                "-out", cert)
        assert (name, ask(gate, client_of(server, (cert, key)))) == (name, 401)


def test_match_and_tier(make_gate, echo, server, clients):
    more = ("mtls: {name: san_uri, match: ['spiffe://corp/team/*', 'spiffe://corp/one'], "
            "tier: {field: ou, values: {ml: gold, 'l*': gold}}}")
    gate = make(make_gate, echo, server, clients, more=more, workers=1,
                model=", tiers: {gold: main}")
    cases = [("spiffe://corp/team/a", "", 200, None), ("spiffe://corp/one", "/OU=ml", 200, "gold"),
             ("spiffe://corp/one", "/OU=lab", 200, "gold"),
             ("spiffe://corp/one", "/OU=mll", 200, None),
             ("spiffe://corp/one/more", "/OU=ml", 401, None), ("spiffe://corp/team", "", 401, None),
             ("spiffe://corp/one", "/OU=ml/OU=lab", 401, None)]
    for name, unit, expected, tier in cases:
        issued = clients.client("URI:" + name, "/CN=x" + unit)
        line = logged(gate, client_of(server, issued))
        assert (name, unit, line["status"], line.get("tier")) == (name, unit, expected, tier)
        reason = ("no one value for the tier" if unit.count("OU") > 1 else "name not in match")
        assert expected == 200 or line["reason"] == "certificate: " + reason
        assert name not in open(gate.log).read()


def test_optional(make_gate, echo, server, clients):
    """Others identify otherwise; what is shown must hold all the same."""
    gate = make(make_gate, echo, server, clients, identify="[mtls, api_key]",
                tls=", client_certificate: optional")
    key = b"X-API-Key: %s\r\n" % gate.key.encode()

    def both(client):
        with gate.connect(tls=client) as s:
            s.sendall(POST.replace(b"Content", key + b"Content"))
            return read_answer(s)[0]

    assert both(client_of(server)) == 200 and ask(gate, client_of(server)) == 401
    assert ask(gate, client_of(server, clients.client())) == 200
    assert both(client_of(server, clients.client(""))) == 401
    assert ask(gate, client_of(server, clients.client(days=-1))) is None


def test_only_a_gate(make_gate, echo, server, clients):
    """Certificates are required, and clients are known by something else."""
    gate = make(make_gate, echo, server, clients, identify="[address]", more="", workers=1)
    assert ask(gate, client_of(server, clients.client(""))) == 200
    assert ask(gate, client_of(server)) is None


# Policies change.

def closes(sock):
    """The answer is 401, and it is the last; also to a request whose body is not left unread."""
    sock.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
    return read_answer(sock)[0] == 401 and sock.recv(1) == b""


def test_revoked_while_connected(make_gate, echo, server, clients):
    gate = make(make_gate, echo, server, clients, tls=", client_crl: crl.pem", workers=4)
    good, bad = clients.client(), clients.client("URI:spiffe://corp/b")
    kept = [gate.connect(tls=client_of(server, c)) for c in [good] * 6 + [bad] * 6]
    assert {status(s) for s in kept} == {200}
    install(gate, clients.revoke(bad[0]), "crl.pem")
    gate.reload()
    wait_for(lambda: ask(gate, client_of(server, bad)) is None, "no new connection")
    seen = len(echo.requests)
    assert all(closes(s) for s in kept[6:])
    reasons = lambda: [x["reason"] for x in gate.log_lines() if x["status"] == 401]
    wait_for(lambda: len(reasons()) == 6, "they are in the log")
    assert set(reasons()) == {"certificate: revoked"}
    assert len(echo.requests) == seen
    assert {status(s) for s in kept[:6]} == {200}
    for s in kept:
        s.close()


def test_another_authority(make_gate, echo, server, clients, tmp_path):
    """New handshakes and open connections both go by the new one; a broken file changes nothing."""
    other = Clients(tmp_path / "other")
    gate = make(make_gate, echo, server, clients, workers=1)
    with gate.connect(tls=client_of(server, clients.client())) as s:
        assert status(s) == 200
        gate.write("ca.pem", "garbage")
        gate.reload()
        assert gate.metric("config_last_reload_successful") == 0 and status(s) == 200
        install(gate, other.ca, "ca.pem")
        gate.reload()
        wait_for(lambda: ask(gate, client_of(server, other.client())) == 200, "it is in force")
        assert closes(s)
    assert ask(gate, client_of(server, clients.client())) is None


def test_each_authority_of_a_chain_needs_a_current_list(make_gate, echo, server, tmp_path):
    root = Clients(tmp_path / "root")
    below = Clients(tmp_path / "below").under(root)
    other = Clients(tmp_path / "other")
    gate = make(make_gate, echo, server, root, tls=", client_crl: crl.pem", workers=1)
    cert, key = below.client()
    with open(cert, "a") as f:
        f.write(open(below.ca).read())
    client = client_of(server, (cert, key))

    def why(*lists):
        gate.write("lists", "".join(open(name).read() for name in lists))
        os.rename(gate.path("lists"), gate.path("crl.pem"))
        gate.reload()
        before = len(gate.log_lines())
        status = wait_for(lambda: [ask(gate, client)], "it is asked")[0]
        wait_for(lambda: len(gate.log_lines()) > before, "it is in the log")
        return status or gate.log_lines()[-1]["reason"].removeprefix("certificate: ")

    past = ("-crl_lastupdate", "200101000000Z", "-crl_nextupdate", "200102000000Z")
    assert why(root.list(), below.list()) == 200
    assert why(root.list()) == "no revocation list of its authority"
    assert why(below.list()) == "no revocation list of its authority"
    assert why(root.list(), other.list()) == "no revocation list of its authority"
    assert why(root.list(), below.list(*past)) == "the revocation list has ended"
    assert why(root.list(*past), below.list()) == "the revocation list has ended"
    assert why(root.list(), below.list()) == 200
    assert why(root.revoke(below.ca), below.list()) == "revoked"


def test_a_list_that_is_none(make_gate, echo, server, clients):
    gate = make(make_gate, echo, server, clients, tls=", client_crl: crl.pem", start=False)
    install(gate, clients.ca, "crl.pem")
    gate.start(wait=False)
    assert gate.process.wait(20) == 1
    assert "revocation list" in gate.stderr()
    gate.process = None
