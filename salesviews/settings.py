"""Every setting, declared as a row: name, default, how its text is read, help.

Settings are read from the environment once, at the start of a process, into one frozen value that is passed along;
nothing else reads the environment.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salesviews.errors import SettingError
from salesviews.tables import object_store

PREFIX = "SALESVIEWS_"

LOG_LEVELS = ("debug", "info", "warning", "error")

SECURITY_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
SASL_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")

RAW_TOPIC = "ventes"
"""The raw topic where none is named."""

_OF_AN_INSTANCE = re.compile(r"changelog__.+|(?:.+-)?vues-\w+|.+-(?:rejets|typees(?:-g\d+)?)", re.ASCII)
"""Names of topics that an instance writes (``salesviews.topics``): none of them can be another's raw topic."""

_REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Setting:
    """One setting.

    :param name: the environment variable without ``SALESVIEWS_``; the attribute is the same in lower case
    :param default: as text, read like a given one
    :param read: text to value; raises ValueError with what was expected
    """

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    secret: bool = False

    @property
    def variable(self) -> str:
        return PREFIX + self.name


def _text(text: str) -> str:
    return text


def _topic(text: str) -> str:
    if _OF_AN_INSTANCE.fullmatch(text):
        raise ValueError("a topic of raw sales, and this is the name of one that salesviews writes from them")
    return text


def _lake(text: str) -> str:
    scheme, is_url, rest = text.partition("://")
    if is_url and (f"{scheme}://" != object_store.SCHEME or not rest.partition("/")[0]):
        raise ValueError("the path of a folder, or s3://bucket/prefix")
    return text


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= port <= 65535:
        raise ValueError("a port number from 1 to 65535")
    return port


def _port_or_none(text: str) -> int | None:
    return _port(text) if text else None


def _positive_int(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError("a whole number of at least 1")
    return int(text)


def _whole_seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 86_400:
        raise ValueError("a whole number of seconds from 0 to 86400")
    return int(text)


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise ValueError("a number of seconds above 0 and below 86400")
    return seconds


def _one_of(*words: str) -> Callable[[str], str]:
    """One of these words, in upper or lower case."""

    def read(text: str) -> str:
        for word in words:
            if word.lower() == text.lower():
                return word
        raise ValueError(f"one of {', '.join(words)}")

    return read


def _file(text: str) -> str:
    if text and not Path(text).is_file():
        raise ValueError("the path of a file that exists")
    return text


_SHORTEST_TOKEN = 16


def _token(text: str) -> str:
    is_usable = text.isascii() and text.isprintable() and " " not in text
    if text and (not is_usable or len(text) < _SHORTEST_TOKEN):
        raise ValueError(
            f"at least {_SHORTEST_TOKEN} letters, digits or signs of ASCII without spaces, "
            "such as `openssl rand -hex 32` makes"
        )
    return text


def _options(text: str) -> dict[str, str]:
    try:
        options = json.loads(text or "{}")
    except ValueError:
        options = None
    if isinstance(options, dict):
        return {str(name): str(value) for name, value in options.items()}
    raise ValueError('a JSON object, such as {"security.protocol": "SSL"}')


SETTINGS: tuple[Setting, ...] = (
    Setting("HOME", "./data", _text, "folder of everything that is kept: lake/, state/, kafka/"),
    Setting(
        "LAKE",
        "",
        _lake,
        "where the Delta tables are: a folder, or s3://bucket/prefix; default: the lake folder under the home folder",
    ),
    Setting("S3_ENDPOINT", "", _text, "URL of an S3-compatible store, where it is not Amazon's: http://minio:9000"),
    Setting("S3_REGION", "us-east-1", _text, "region of the bucket"),
    Setting("S3_ACCESS_KEY_ID", "", _text, "key to the bucket; default: what the machine is given", secret=True),
    Setting("S3_SECRET_ACCESS_KEY", "", _text, "secret of that key", secret=True),
    Setting("BROKER", "", _text, "host:port of a Kafka to use; default: the embedded one"),
    Setting(
        "KAFKA_OPTIONS",
        "{}",
        _options,
        'librdkafka options for every client, as a JSON object: {"security.protocol": "SASL_SSL", ...}',
        secret=True,
    ),
    Setting(
        "KAFKA_SECURITY_PROTOCOL",
        "plaintext",
        _one_of(*SECURITY_PROTOCOLS),
        f"how Kafka is reached: {', '.join(SECURITY_PROTOCOLS)}",
    ),
    Setting("KAFKA_CA_FILE", "", _file, "certificates (PEM) by which Kafka's is checked; default: the system's"),
    Setting("KAFKA_CERTIFICATE_FILE", "", _file, "certificate (PEM) that this client shows to Kafka"),
    Setting("KAFKA_KEY_FILE", "", _file, "private key (PEM) of that certificate"),
    Setting(
        "KAFKA_SASL_MECHANISM",
        SASL_MECHANISMS[0],
        _one_of(*SASL_MECHANISMS),
        "how this client proves its name to Kafka, with a sasl protocol",
    ),
    Setting("KAFKA_USERNAME", "", _text, "name of this client, with a sasl protocol"),
    Setting("KAFKA_PASSWORD", "", _text, "password of that name", secret=True),
    Setting("KAFKA_PORT", "9092", _port, "port of the embedded Kafka (its controller listens on a free one)"),
    Setting("TOPIC", RAW_TOPIC, _topic, "topic of the raw sales; instances on one Kafka need one each"),
    Setting("PARTITIONS", "4", _positive_int, "partitions of a raw topic that does not exist yet"),
    Setting("HOST", "127.0.0.1", _text, "address on which the web server listens, and who serves metrics"),
    Setting("PORT", "8000", _port, "port on which the web server listens"),
    Setting(
        "WEB_TOKEN",
        "",
        _token,
        "what the web server's clients must know to see figures; single customers and sales are shown without it on "
        "the loopback only",
        secret=True,
    ),
    Setting(
        "METRICS_PORT",
        "",
        _port_or_none,
        "port on which ingest and views serve their /metrics, on the same address as the web server; `up` gives each "
        "process the next one; default: they serve none",
    ),
    Setting("BRONZE_INTERVAL_S", "5", _positive_seconds, "seconds between two Bronze commits"),
    Setting("SNAPSHOT_INTERVAL_S", "3", _positive_seconds, "seconds between two Silver snapshots"),
    Setting("DEDUP_DAYS", "30", _positive_int, "days, by Kafka timestamps, for which a vente_id is remembered"),
    Setting("RETENTION_DAYS", "7", _positive_int, "days for which earlier snapshots can be asked for"),
    Setting(
        "RETENTION_STEP_S",
        "600",
        _whole_seconds,
        "beyond the last hour, of which every snapshot is kept, the newest of each so many seconds is; 0 keeps all",
    ),
    Setting(
        "INSTANCE",
        "",
        _text,
        "name of this process among its kind, kept over restarts (`up` gives one): it takes its partitions back at "
        "once; without a name Kafka waits 10 s for the one that died",
    ),
    Setting("INGEST_PROCESSES", "1", _positive_int, "ingest processes that `up` and `demo` start"),
    Setting(
        "LOG_LEVEL", "info", _one_of(*LOG_LEVELS), f"least important messages that are shown: {', '.join(LOG_LEVELS)}"
    ),
)


@dataclass(frozen=True)
class Settings:
    """The settings of this process. Attributes are the rows of ``SETTINGS``; the folders are derived from them."""

    home: Path
    lake: str
    s3_endpoint: str
    s3_region: str
    s3_access_key_id: str = field(repr=False)
    s3_secret_access_key: str = field(repr=False)
    broker: str
    is_broker_embedded: bool
    kafka_options: dict[str, str] = field(repr=False)
    kafka_security_protocol: str
    kafka_ca_file: str
    kafka_certificate_file: str
    kafka_key_file: str
    kafka_sasl_mechanism: str
    kafka_username: str
    kafka_password: str = field(repr=False)
    kafka_port: int
    topic: str
    partitions: int
    host: str
    port: int
    web_token: str = field(repr=False)
    metrics_port: int | None
    bronze_interval_s: float
    snapshot_interval_s: float
    dedup_days: int
    retention_days: int
    retention_step_s: int
    instance: str
    ingest_processes: int
    log_level: str

    @property
    def state_folder(self) -> Path:
        return self.home / "state"

    @property
    def lake_options(self) -> dict[str, str]:
        """What is needed to reach a lake in an object store; it may hold secrets."""
        if not self.lake.startswith(object_store.SCHEME):
            return {}
        return object_store.options(self.s3_endpoint, self.s3_region, self.s3_access_key_id, self.s3_secret_access_key)

    @property
    def kafka_folder(self) -> Path:
        return self.home / "kafka"

    @property
    def url(self) -> str:
        """Where this machine reaches the web server; it may listen on every address."""
        host = _REACHED.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def kafka_config(self) -> dict[str, Any]:
        """librdkafka configuration that every client of this process starts from; it may hold secrets."""
        return {"bootstrap.servers": self.broker, **self._security, **self.kafka_options}

    @property
    def _security(self) -> dict[str, str]:
        protocol = self.kafka_security_protocol
        options = {"security.protocol": protocol} if protocol != SECURITY_PROTOCOLS[0] else {}
        if protocol.endswith("ssl"):
            options |= {
                "ssl.ca.location": self.kafka_ca_file,
                "ssl.certificate.location": self.kafka_certificate_file,
                "ssl.key.location": self.kafka_key_file,
            }
        if protocol.startswith("sasl"):
            options |= {
                "sasl.mechanism": self.kafka_sasl_mechanism,
                "sasl.username": self.kafka_username,
                "sasl.password": self.kafka_password,
            }
        return {name: value for name, value in options.items() if value}


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of an environment (default: the process's own).

    :raises SettingError: naming the variable, its value and what was expected
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = environment.get(setting.variable) or setting.default
        try:
            values[setting.name.lower()] = setting.read(text)
        except ValueError as error:
            shown = "(secret)" if setting.secret else repr(text)
            raise SettingError(f"{setting.variable}={shown} cannot be used: it takes {error}.") from None
    if values["kafka_security_protocol"].startswith("sasl"):
        for name in ("KAFKA_USERNAME", "KAFKA_PASSWORD"):
            if not values[name.lower()]:
                raise SettingError(
                    f"{PREFIX}{name} is needed with {PREFIX}KAFKA_SECURITY_PROTOCOL="
                    f"{values['kafka_security_protocol']}: Kafka asks each client who it is."
                )
    values["home"] = Path(values["home"]).expanduser().absolute()
    values["lake"] = values["lake"] or str(values["home"] / "lake")
    values["is_broker_embedded"] = not values["broker"]
    values["broker"] = values["broker"] or f"127.0.0.1:{values['kafka_port']}"
    return Settings(**values)


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables that ``read`` turns into the same settings: what a child process is started with."""
    values = {setting: getattr(settings, setting.name.lower()) for setting in SETTINGS}
    texts = {
        setting.variable: json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
        for setting, value in values.items()
    }
    if settings.is_broker_embedded:
        del texts[PREFIX + "BROKER"]
    return texts
