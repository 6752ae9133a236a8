"""As many clients as there may be: what they cost Redis and the gate."""
import fleet as rigs
from harness import SANITIZED
from redis_servers import redis_server  # noqa: F401 (a fixture)
from fleet import Rule

PER_KEY = 120         # bytes of Redis' memory, its own tables included
GATE_GROWTH = 64 << 20


class PerHour(Rule):
    def text(self):
        return super().text().replace("/s", "/h")


def test_a_flood_of_clients(rig, redis_server):  # noqa: F811
    count = 20_000 if SANITIZED else 100_000
    gate, = rig.start_gates(redis_server.url, PerHour(2, 8), count=1, clients=count, timeout=0.5)
    before, own = int(redis_server.info("used_memory")), gate.resident()
    decisions = rig.run(c=64, n=count, k=count, w=0)
    assert set(decisions.statuses()) == {200}
    keys = redis_server.call("DBSIZE")
    assert keys >= 0.99 * count
    assert (int(redis_server.info("used_memory")) - before) / keys <= PER_KEY
    if not SANITIZED:
        assert gate.resident() - own < GATE_GROWTH
    some = redis_server.call("SCAN", 0, "COUNT", 1000)[1]
    with redis_server.client() as c:
        assert some and all(0 < c.call("PTTL", key) <= 1800_000 + 10 for key in some)
    assert not any(b"client" in key or b"nemesis" in key for key in some)
