"""An issuer of JSON Web Tokens for tests: keys, their JWKS, tokens good and bad."""
import base64
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

ISSUER, AUDIENCE = "https://issuer.example", "querygate"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


class Key:
    """A private key of one algorithm."""

    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        self.private = {"RS256": lambda: rsa.generate_private_key(65537, 2048),
                        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
                        "EdDSA": ed25519.Ed25519PrivateKey.generate}[alg]()

    def jwk(self):
        public = self.private.public_key()
        if self.alg == "RS256":
            n = public.public_numbers()
            parts = {"kty": "RSA", "n": number(n.n), "e": number(n.e)}
        elif self.alg == "ES256":
            n = public.public_numbers()
            parts = {"kty": "EC", "crv": "P-256", "x": number(n.x, 32), "y": number(n.y, 32)}
        else:
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            parts = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        return {**parts, "kid": self.kid, "alg": self.alg, "use": "sig"}

    def pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, text):
        if self.alg == "RS256":
            return self.private.sign(text, padding.PKCS1v15(), hashes.SHA256())
        if self.alg == "ES256":
            r, s = utils.decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.private.sign(text)

    def token(self, sub="alice", header=None, sign=None, **claims):
        """Good for ten minutes, unless claims or header say otherwise; None leaves one out."""
        head = {"alg": self.alg, "kid": self.kid, "typ": "JWT", **(header or {})}
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "exp": int(time.time()) + 600, **claims}
        return self.of_text(json.dumps({k: v for k, v in head.items() if v is not None}),
                            json.dumps({k: v for k, v in body.items() if v is not None}), sign)

    def of_text(self, header, payload, sign=None):
        text = b64(header.encode()) + "." + b64(payload.encode())
        return text + "." + b64((sign or self.sign)(text.encode()))


def jwks(*keys):
    return json.dumps({"keys": [k.jwk() for k in keys]})


def hmac_by(secret):
    """A signer for those who take a public key for a secret."""
    return lambda text: hmac.new(secret, text, hashlib.sha256).digest()
