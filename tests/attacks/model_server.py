#!/usr/bin/python3
"""model_server.py [--port N] - a model server that speaks the Open Inference Protocol over REST.

One model, `digits`: input `x` of any float or integer type and shape [n, 64]; outputs
`probabilities` FP64 [n, 10] and `label` INT64 [n].  JSON, the binary tensor extension and the
classification extension, both ways.  Prints `listening on PORT` when it is ready to answer.
"""
import argparse
import http.server
import json
import os
import re
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from digits import Digits  # noqa: E402

NAME, VERSION, PIXELS, CLASSES = "digits", "1", 64, 10
TYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "INT8": "i1", "INT16": "<i2", "INT32": "<i4",
         "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}
OUTPUTS = {"probabilities": ("FP64", [-1, CLASSES]), "label": ("INT64", [-1])}
BODY_MAX = 64 << 20


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def read_request(body, head_length):
    """(request object, pixels): the JSON part, and the binary part behind it when there is one."""
    try:
        request = json.loads(body[:head_length])
        (tensor,) = request["inputs"]
        shape, dtype = tensor["shape"], TYPES[tensor["datatype"]]
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.array(tensor["data"], dtype=dtype)
        else:
            if head_length + size != len(body):
                raise ValueError("binary_data_size is not what follows the JSON")
            values = np.frombuffer(body, dtype=dtype, offset=head_length)
        values = values.reshape(shape).astype(float)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise Refused(400, "unreadable request: %s" % e) from None
    if values.ndim != 2 or values.shape[1] != PIXELS or not np.isfinite(values).all():
        raise Refused(400, "input must be finite numbers of shape [n,%d]" % PIXELS)
    return request, values


def ranking(values, k):
    """The classification extension: 'value:index:label', the best k of each row."""
    rows = np.atleast_2d(values)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    return [["%f:%d:digit-%d" % (row[i], i, i) for i in chosen] for row, chosen in zip(rows, best)]


def write_output(wanted, values, binary_by_default):
    """(output object, its binary tail)."""
    name = wanted["name"]
    parameters = wanted.get("parameters", {})
    k = parameters.get("classification", 0)
    if k:
        strings = ranking(values, k)
        shape = [len(strings), len(strings[0])]
        flat, datatype = [s for row in strings for s in row], "BYTES"
        raw = b"".join(len(s).to_bytes(4, "little") + s.encode() for s in flat)
    else:
        datatype, shape = OUTPUTS[name][0], list(values.shape)
        flat, raw = values.ravel().tolist(), values.astype(TYPES[datatype]).tobytes()
    output = {"name": name, "datatype": datatype, "shape": shape}
    if not parameters.get("binary_data", binary_by_default):
        return {**output, "data": flat}, b""
    return {**output, "parameters": {"binary_data_size": len(raw)}}, raw


def answer(model, body, head_length):
    """(body, length of its JSON part or None when it is all JSON)."""
    request, pixels = read_request(body, head_length)
    probabilities = model.predict_proba(pixels)
    values = {"probabilities": probabilities, "label": model.classes_[probabilities.argmax(axis=1)]}
    wanted = request.get("outputs") or [{"name": name} for name in OUTPUTS]
    unknown = [w["name"] for w in wanted if w["name"] not in OUTPUTS]
    if unknown:
        raise Refused(400, "no output %r" % unknown[0])
    binary = request.get("parameters", {}).get("binary_data_output", False)
    outputs, tails = zip(*(write_output(w, values[w["name"]], binary) for w in wanted))
    reply = {"model_name": NAME, "model_version": VERSION, "outputs": list(outputs)}
    if "id" in request:
        reply["id"] = request["id"]
    head = json.dumps(reply, separators=(",", ":")).encode()
    tail = b"".join(tails)
    return head + tail, len(head) if tail else None


def metadata():
    return {"name": NAME, "versions": [VERSION], "platform": "sklearn",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, PIXELS]}],
            "outputs": [{"name": name, "datatype": datatype, "shape": shape}
                        for name, (datatype, shape) in OUTPUTS.items()]}


MODEL_PATH = r"/v2/models/%s(?:/versions/%s)?" % (NAME, VERSION)
GETS = [
    (r"/v2/health/(?:live|ready)", lambda: {}),
    (r"/v2", lambda: {"name": "digits-server", "version": "1.0",
                      "extensions": ["classification", "binary_tensor_data"]}),
    (MODEL_PATH + "/ready", lambda: {"name": NAME, "ready": True}),
    (MODEL_PATH, metadata),
]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one write
    model = None   # the trained classifier, set before the server starts

    def reply(self, status, body, json_length=None):
        self.send_response(status)
        if json_length is None:
            self.send_header("Content-Type", "application/json")
        else:
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Inference-Header-Content-Length", str(json_length))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status, text):
        self.reply(status, json.dumps({"error": text}).encode())

    def do_GET(self):
        for path, make in GETS:
            if re.fullmatch(path, self.path):
                return self.reply(200, json.dumps(make()).encode())
        return self.fail(404, "no such path")

    def do_POST(self):
        length = int(self.headers.get("Content-Length", -1))
        if not 0 <= length <= BODY_MAX:
            self.close_connection = True
            return self.fail(411 if length < 0 else 413, "a Content-Length up to %d" % BODY_MAX)
        body = self.rfile.read(length)
        if not re.fullmatch(MODEL_PATH + "/infer", self.path):
            return self.fail(404, "no such model or call")
        try:
            head = int(self.headers.get("Inference-Header-Content-Length", length))
            return self.reply(200, *answer(self.model, body, head))
        except Refused as e:
            return self.fail(e.status, str(e))

    def log_message(self, *_):
        pass  # a query a line would drown what the user came to see


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=0, help="0: any free one")
    Handler.model = Digits().train()
    with Server(("127.0.0.1", options.parse_args().port), Handler) as server:
        print("listening on %d" % server.server_address[1], flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
