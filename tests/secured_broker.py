"""The embedded Kafka with one listener more, for clients that prove who they are: TLS, and SCRAM-SHA-512.

Run as a program (``python tests/secured_broker.py PORT PEM``) it is ``salesviews broker`` with that listener.
"""

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from programs import Program

from salesviews import settings as settings_module
from salesviews.machine import broker, ports
from salesviews.settings import Settings

USER = "salesviews"
PASSWORD = "correct-horse-battery-staple"

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


@contextmanager
def running(home: Path) -> Iterator[Settings]:
    """A broker whose data is in a home; gives the settings of a client that it trusts, and that trusts it."""
    home.mkdir(parents=True)
    port, keystore, authority = ports.free(), home / "broker.pem", home / "ca.pem"
    _certify(keystore, authority)
    inside = settings_module.read({"SALESVIEWS_HOME": str(home), "SALESVIEWS_KAFKA_PORT": str(ports.free())})
    program = Program(
        [sys.executable, __file__, str(port), str(keystore)],
        home / "program-broker.log",
        settings_module.environment(inside),
    )
    try:
        broker.wait_until_ready(inside, 180)
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
        admin = AdminClient(inside.kafka_config)
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result()
        yield settings_module.read(
            {
                "SALESVIEWS_HOME": str(home),
                "SALESVIEWS_BROKER": f"{ports.LOOPBACK}:{port}",
                "SALESVIEWS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "SALESVIEWS_KAFKA_CA_FILE": str(authority),
                "SALESVIEWS_KAFKA_USERNAME": USER,
                "SALESVIEWS_KAFKA_PASSWORD": PASSWORD,
            }
        )
    finally:
        program.close()


def _certify(keystore: Path, authority: Path) -> None:
    """An authority's certificate, and the key and certificate of a broker at the loopback that it signed."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]), datetime.now(UTC)

    def certificate(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        begun = x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(public)
        lasting = begun.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        return lasting.serial_number(x509.random_serial_number())

    own = certificate(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    address = x509.IPAddress(ipaddress.ip_address(ports.LOOPBACK))
    broker_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka")])
    signed = certificate(broker_name, key.public_key()).add_extension(x509.SubjectAlternativeName([address]), False)
    pem = serialization.Encoding.PEM
    authority.write_bytes(own.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    keystore.write_bytes(private + signed.sign(ca_key, hashes.SHA256()).public_bytes(pem))


def _main(port: str, keystore: str) -> None:
    write_config = broker._write_config

    def write_secured_config(folder: Path, kafka_port: int, data: str) -> None:
        write_config(folder, kafka_port, data)
        file = folder / broker._CONFIG
        secured = f",SECURED://{ports.LOOPBACK}:{port}"
        lines = [
            line + secured if line.partition("=")[0] in ("listeners", "advertised.listeners") else line
            for line in file.read_text(encoding="ascii").splitlines()
        ]
        listener = "listener.name.secured"
        lines += [
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL",
            "inter.broker.listener.name=PLAINTEXT",
            f"{listener}.ssl.keystore.type=PEM",
            f"{listener}.ssl.keystore.location={keystore}",
            f"{listener}.sasl.enabled.mechanisms=SCRAM-SHA-512",
            f"{listener}.scram-sha-512.sasl.jaas.config={_SCRAM} required;",
        ]
        file.write_text("\n".join(lines) + "\n", encoding="ascii")

    broker._write_config = write_secured_config
    broker.run(settings_module.read())


if __name__ == "__main__":
    _main(*sys.argv[1:])
