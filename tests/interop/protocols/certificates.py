"""A certificate in files, and the authority that signed it."""

import datetime
import ipaddress
import pathlib
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


class Certificate:
    """For a name and for 127.0.0.1; `chain`, `key` and `authority` are files while it is open."""

    def __init__(self, name):
        self.folder = tempfile.TemporaryDirectory()
        files = "tls.crt", "tls.key", "ca.crt"
        self.chain, self.key, self.authority = (pathlib.Path(self.folder.name, file) for file in files)
        authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        hosts = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        is_authority = x509.BasicConstraints(ca=True, path_length=None)
        self.authority.write_bytes(pem("authority", authority_key.public_key(), authority_key, is_authority))
        self.chain.write_bytes(pem(name, key.public_key(), authority_key, hosts))
        how = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, *how))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()


def pem(name, public, authority_key, extension):
    """A certificate of the authority's, good since yesterday and until tomorrow."""
    now = datetime.datetime.now(datetime.timezone.utc)
    subject, authority = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, "authority")
    )
    serial = x509.random_serial_number()
    builder = x509.CertificateBuilder(authority, subject, public, serial, now - DAY, now + DAY)
    signed = builder.add_extension(extension, critical=False).sign(authority_key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)
