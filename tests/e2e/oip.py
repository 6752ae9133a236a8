"""Open Inference Protocol messages as clients and servers write them.

A tensor is kept in its binary form, whatever form it came in: equal bytes are equal values."""
import json
import struct
from dataclasses import dataclass

import numpy as np

NUMPY = {"BOOL": "u1", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1",
         "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4",
         "FP64": "<f8"}
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Tensor:
    name: str
    datatype: str
    shape: tuple
    raw: bytes

    def values(self):
        return unpack(self.datatype, self.raw)


def tensor(name, datatype, values, shape=None):
    """values: an array, or a flat list and its shape"""
    if shape is None:
        shape, values = values.shape, values.ravel().tolist()
    return Tensor(name, datatype, shape, pack(datatype, values))


def pack(datatype, values):
    if datatype == "BYTES":
        encoded = [v if isinstance(v, bytes) else v.encode() for v in values]
        return b"".join(struct.pack("<I", len(v)) + v for v in encoded)
    with np.errstate(over="ignore"):
        return np.array(values, dtype=NUMPY[datatype]).tobytes()


def unpack(datatype, raw):
    if datatype == "BOOL":
        return [bool(v) for v in raw]
    if datatype != "BYTES":
        return np.frombuffer(raw, dtype=NUMPY[datatype]).tolist()
    values = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        values.append(raw[4:4 + length].decode("utf-8", "surrogateescape"))
        raw = raw[4 + length:]
    return values


def write(key, tensors, binary, **more):
    """(headers, body) with these tensors under key, all of them binary or none."""
    objects = []
    for t in tensors:
        o = {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)}
        if binary:
            o["parameters"] = {"binary_data_size": len(t.raw)}
        else:
            o["data"] = t.values()
        objects.append(o)
    head = json.dumps({**more, key: objects}, ensure_ascii=False).encode()
    if not binary:
        return {}, head
    return {LENGTH: str(len(head))}, head + b"".join(t.raw for t in tensors)


def read(key, headers, body):
    """(the JSON part, the tensors under key by name, the forms they came in)"""
    length = headers.get(LENGTH, headers.get(LENGTH.lower()))
    head = int(length) if length else len(body)
    message, tail = json.loads(body[:head]), body[head:]
    tensors, forms = {}, set()
    for o in message[key]:
        size = o.get("parameters", {}).get("binary_data_size")
        raw = pack(o["datatype"], flat(o["data"])) if size is None else tail[:size]
        tail = tail[size or 0:]
        forms.add("json" if size is None else "binary")
        tensors[o["name"]] = Tensor(o["name"], o["datatype"], tuple(o["shape"]), raw)
    assert not tail, "bytes behind the last tensor"
    return message, tensors, forms


def flat(data):
    while data and isinstance(data[0], list):
        data = [v for row in data for v in row]
    return data


def wanted(names, binary=False, classification=0):
    """The request's `outputs`."""
    parameters = {**({"binary_data": True} if binary else {}),
                  **({"classification": classification} if classification else {})}
    return [{"name": n, **({"parameters": parameters} if parameters else {})} for n in names]
