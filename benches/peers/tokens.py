"""A key, its key set, and tokens like those of Clerk's sessions: RS256 with 2,048 bits, about 1 KB."""

import base64
import concurrent.futures
import hashlib
import json
import secrets
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://clerk.example.com"
PARTY = "https://app.example.com"  # the front end that tokens were given to
PUBLISHABLE_KEY = "pk_live_" + base64.b64encode(b"clerk.example.com$").decode()
KEY_ID = "ins_2xHq5PcA1BdR8tYw6ZsUeGfJkVn"
LIFETIME = 6 * 3600  # seconds: none expires while this runs
AT_A_TIME = 500


class Mint:
    """Writes the key set and the public key into `directory`, and signs."""

    def __init__(self, directory):
        self.key = rsa.generate_private_key(65537, 2048)
        self.key_set, self.public_key = directory / "jwks.json", directory / "public.pem"
        self.key_set.write_text(json.dumps({"keys": [self.jwk()]}))
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public_key.write_bytes(self.key.public_key().public_bytes(serialization.Encoding.PEM, form))

    def jwk(self):
        numbers = self.key.public_key().public_numbers()
        parts = {"n": numbers.n, "e": numbers.e}
        encoded = {name: base64url(part.to_bytes((part.bit_length() + 7) // 8)) for name, part in parts.items()}
        return {"use": "sig", "kty": "RSA", "kid": KEY_ID, "alg": "RS256"} | encoded

    def token(self):
        return signed(self.key)

    def write_many(self, path, count):
        """Writes so many tokens, a line each. No two are alike: each is of a user and a session of its own."""
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        shares = [min(AT_A_TIME, count - start) for start in range(0, count, AT_A_TIME)]
        with concurrent.futures.ProcessPoolExecutor() as workers, path.open("w") as file:
            for tokens in workers.map(minted, [private] * len(shares), shares):
                file.writelines(f"{token}\n" for token in tokens)


def minted(private, count):
    key = serialization.load_pem_private_key(private, None)
    return [signed(key) for _ in range(count)]


def signed(key):
    header = {"alg": "RS256", "cat": "cl_B7d4PD111AAA", "kid": KEY_ID, "typ": "JWT"}
    text = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims()))
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{base64url(signature)}"


def claims():
    """What the session token of somebody says who is signed in to an organization, in its version 2."""
    now = int(time.time())
    return {
        "azp": PARTY,
        "exp": now + LIFETIME,
        "fea": "o:dashboard,o:teams",
        "fva": [1, -1],
        "iat": now,
        "iss": ISSUER,
        "jti": secrets.token_hex(10),
        "nbf": now - 10,
        "o": {"id": "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS", "slg": "acme", "rol": "admin", "per": "manage,read", "fpm": "3,2"},
        "pla": "o:pro",
        "sid": f"sess_{secrets.token_hex(13)}1",
        "sts": "active",
        "sub": f"user_{secrets.token_hex(13)}1",
        "v": 2,
    }


def cookies(token):
    """What a browser sends: Clerk writes each of its cookies twice, once under a name of the instance's own."""
    suffix = base64url(hashlib.sha1(PUBLISHABLE_KEY.encode()).digest())[:8]
    signed_in = str(int(time.time()) - 60)
    pairs = [("__client_uat", signed_in), ("__session", token)]
    return "; ".join(f"{name}={value}; {name}_{suffix}={value}" for name, value in pairs)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
