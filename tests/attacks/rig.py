"""One gate with many settings at once, for attacks that compare them: each setting is a policy, and
has a tier and a key of its own.  And a model server that is a function."""
import contextlib
import http.client
import json
import os
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import oip  # noqa: E402
from harness import PATIENCE, Gate, Upstream, http_answer  # noqa: E402

BATCH = 1000


@contextlib.contextmanager
def model_server():
    """The URL of model_server.py, trained and serving `digits`."""
    with subprocess.Popen([sys.executable, os.path.join(HERE, "model_server.py")],
                          stdout=subprocess.PIPE, text=True) as server:
        try:
            yield "http://127.0.0.1:" + server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def serve(function, output="scores", datatype="FP32"):
    """A model server: the output is what the function makes of the input's rows."""
    def answer(request):
        head, body = request
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        message, tensors, _ = oip.read("inputs", dict(lines), body)
        x = np.frombuffer(tensors["x"].raw, "<f8").reshape(tensors["x"].shape)
        values = np.asarray(function(x), float)
        tensor = oip.Tensor(output, datatype, values.shape,
                            values.astype(oip.NUMPY[datatype]).tobytes())
        binary = message.get("parameters", {}).get("binary_data_output", False)
        headers, body = oip.write("outputs", [tensor], binary)
        return http_answer(body, headers=["%s: %s" % kv for kv in headers.items()])
    return Upstream(answer, remember=False)


class Settings:
    """with Settings(folder, url, {name: its filters as YAML}) as s: s.ask(name, rows).

    `noise_key` fixes all sticky draws; absent, they are new with each gate.  `durable`: what is
    counted is kept, as budgets want it."""

    def __init__(self, folder, url, settings, model="m", outputs="{scores: scores}", noise_key=None,
                 durable=False):
        tiers = {name: "t%d" % i for i, name in enumerate(settings)}
        policies = "".join("  %s: {filters: [%s]}\n" % (tiers[name], filters)
                           for name, filters in settings.items())
        if noise_key:
            policies += "noise_key: {file: noise.key}\n"
        if durable:
            policies += 'store: {url: "memory:%s"}\n' % os.path.join(str(folder), "state.db")
        self.model = model
        self.gate = Gate(folder, [url], match=model, outputs=outputs, more=policies,
                         model=", tiers: {%s}" % ", ".join("%s: %s" % (t, t)
                                                           for t in tiers.values()))
        if noise_key:
            self.gate.write("noise.key", noise_key)
        self.keys = {name: "%s-%s" % (self.gate.key, tier) for name, tier in tiers.items()}
        self.gate.keys = [(tier, self.keys[name], tier) for name, tier in tiers.items()]
        self.gate.write_policy()
        self.connection = None
        try:
            self.gate.start()
        except BaseException:
            self.gate.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.disconnect()
        try:
            self.gate.stop()
        finally:
            self.gate.kill()

    def disconnect(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def post(self, name, rows, binary=True):
        """(status, headers, body) of one request."""
        rows = np.asarray(rows, float)
        x = oip.Tensor("x", "FP64", rows.shape, rows.astype("<f8").tobytes())
        headers, body = oip.write("inputs", [x], binary, parameters={"binary_data_output": binary})
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.gate.port,
                                                         timeout=PATIENCE)
        self.connection.request("POST", "/v2/models/%s/infer" % self.model, body,
                                {**headers, "X-API-Key": self.keys[name]})
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def batch(self, name, rows, binary=True):
        """The only output of one request, as an array; an AssertionError says what else came."""
        status, headers, body = self.post(name, rows, binary)
        assert status == 200, "HTTP %d: %s" % (status, body[:300])
        if not binary:
            (output,) = json.loads(body)["outputs"]
            return np.array(output["data"], oip.NUMPY[output["datatype"]]).reshape(output["shape"])
        (tensor,) = oip.read("outputs", headers, body)[1].values()
        return np.frombuffer(tensor.raw, oip.NUMPY[tensor.datatype]).reshape(tensor.shape)

    def ask(self, name, rows, binary=True):
        return np.concatenate([self.batch(name, rows[at:at + BATCH], binary)
                               for at in range(0, len(rows), BATCH)])
