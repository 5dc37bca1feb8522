"""Certificates as cert-manager's are mounted by Kubernetes: two names that are links into a folder behind a link."""

import datetime
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Certificates:
    """An authority, and the certificate of `localhost` that is on the disk."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority for a test")])
        ours = x509.BasicConstraints(ca=True, path_length=0)
        self.authority = self.signed(self.name, self.key.public_key(), [(ours, True)])
        self.certificate, self.private = directory / "tls.crt", directory / "tls.key"
        for path in self.certificate, self.private:
            path.symlink_to(f"..data/{path.name}")
        self.swap()

    def swap(self):
        """Puts a new certificate in place by one link; returns its serial number."""
        folder = self.directory / f"..{os.urandom(4).hex()}"
        folder.mkdir()
        serial, chain, private = self.issue()
        (folder / "tls.crt").write_bytes(chain)
        (folder / "tls.key").write_bytes(private)
        link = self.directory / "..next"
        link.symlink_to(folder.name)
        link.replace(self.directory / "..data")
        return serial

    def rewrite(self):
        """Writes over both files, one after the other; returns the serial number of what is there now."""
        serial, chain, private = self.issue()
        self.private.write_bytes(private)
        self.certificate.write_bytes(chain)
        return serial

    def issue(self):
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = self.signed(subject, key.public_key(), [(names, False)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.serial_number, pem(certificate), private

    def signed(self, subject, public, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(self.name, subject, public, x509.random_serial_number(), now - DAY, now + DAY)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def client(self, protocol):
        """What a client needs that believes this authority and speaks `protocol`."""
        context = ssl.create_default_context(cadata=pem(self.authority).decode())
        context.set_alpn_protocols([protocol])
        return context


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def serial_of(connection):
    """The serial number of the certificate that a connection was shown."""
    return int(connection.writer.get_extra_info("peercert")["serialNumber"], 16)
