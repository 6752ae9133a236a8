"""Certificates made by openssl when a test runs."""
import os
import subprocess

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
RSA = ["-newkey", "rsa:2048"]


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True, stdin=subprocess.DEVNULL)


class Authority:
    def __init__(self, folder):
        self.folder = str(folder)
        self.ca, self.key = self.path("ca.pem"), self.path("ca.key")
        self.count = 0
        openssl("req", "-x509", *EC, "-nodes", "-keyout", self.key, "-out", self.ca,
                "-subj", "/CN=test authority", "-days", "2")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, names="DNS:localhost,IP:127.0.0.1", days=2, kind=EC):
        """(certificate file, key file)"""
        self.count += 1
        cert, key, request = (self.path("%d.%s" % (self.count, e)) for e in ("pem", "key", "csr"))
        openssl("req", *kind, "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=server",
                "-addext", "subjectAltName=" + names)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key,
                "-set_serial", str(1000 + self.count), "-copy_extensions", "copy",
                "-days", str(days), "-out", cert)
        return cert, key
