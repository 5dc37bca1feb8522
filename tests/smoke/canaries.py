"""Values that must turn up nowhere, and the search for any piece of them."""

import base64
import secrets
import string
import urllib.parse

PIECE = 12  # characters in a row that are no accident
LETTERS = string.ascii_letters + string.digits


class Canaries:
    """Knows every piece of every value that was added, as it is and as it may have been encoded."""

    def __init__(self):
        self.names, self.pieces = {}, {}

    def new(self, name, prefix=""):
        """Makes a value up, and adds it."""
        return self.add(name, prefix + "".join(secrets.choice(LETTERS) for _ in range(40)))

    def add(self, name, value):
        """Adds a value; returns it."""
        raw = value if isinstance(value, bytes) else value.encode()
        self.names[name] = raw
        for form in forms(raw):
            for start in range(len(form) - PIECE + 1):
                self.pieces.setdefault(form[start : start + PIECE], name)
        return value

    def token(self, name, token):
        """Adds each part of a token, encoded as it is: what its claims say may well be told."""
        for place, part in zip(("header", "claims", "signature"), token.split(".")):
            self.add(f"{name}: {place}", part)
        return token

    def public(self, value):
        """What anybody may see, in which a piece of something else may stand by chance."""
        for start in range(len(value) - PIECE + 1):
            self.pieces.pop(value.encode()[start : start + PIECE], None)

    def key(self, name, pem):
        """Adds the private half of a key in PEM (PKCS #8, of 32 bytes); returns the text."""
        der = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-")))
        start = der.index(b"\x04\x20") + 2
        self.add(name, der[start : start + 32])
        return pem

    def found(self, text):
        """What of them stands in `text` (bytes), by name, with what is around it."""
        seen = {}
        for start in range(len(text) - PIECE + 1):
            name = self.pieces.get(text[start : start + PIECE])
            if name:
                seen.setdefault(name, text[max(0, start - 80) : start + 60])
        return seen


def forms(raw):
    """A value as it is, percent-encoded, in hex, and in base64 wherever it begins within three bytes."""
    yield raw
    escaped = urllib.parse.quote_from_bytes(raw, safe="").encode()
    yield from {escaped, "".join(f"%{byte:02X}" for byte in raw).encode()} - {raw}
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for before, unsure in (0, 0), (1, 2), (2, 3):
        encoded = base64.b64encode(bytes(before) + raw).rstrip(b"=")[unsure:-1]
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))
