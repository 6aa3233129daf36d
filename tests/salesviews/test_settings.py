"""Settings: declared rows, read once."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesviews import settings
from salesviews.errors import SettingError


def test_every_row_is_an_attribute() -> None:
    """What is declared is what is read: no row without an attribute, and no attribute but those and derived ones."""
    names = {row.name.lower() for row in settings.SETTINGS}
    assert names | {"is_broker_embedded"} == {field.name for field in dataclasses.fields(settings.Settings)}
    assert len(names) == len(settings.SETTINGS)


def test_an_empty_environment_gives_the_documented_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The defaults that operators rely on; empty texts count as not given."""
    monkeypatch.chdir(tmp_path)
    read = settings.read({row.variable: "" for row in settings.SETTINGS})
    assert read == settings.read({})
    assert read.home == tmp_path / "data"
    assert read.lake == str(tmp_path / "data" / "lake")
    assert (read.broker, read.is_broker_embedded) == ("127.0.0.1:9092", True)
    assert (read.topic, read.partitions, read.url) == ("ventes", 4, "http://127.0.0.1:8000")
    assert (read.bronze_interval_s, read.snapshot_interval_s, read.dedup_days) == (5.0, 3.0, 30)


def test_the_embedded_broker_is_at_its_port_and_a_named_one_at_its_address() -> None:
    """SALESVIEWS_BROKER wins over SALESVIEWS_KAFKA_PORT."""
    assert settings.read({"SALESVIEWS_KAFKA_PORT": "19092"}).broker == "127.0.0.1:19092"
    named = settings.read({"SALESVIEWS_KAFKA_PORT": "19092", "SALESVIEWS_BROKER": "kafka.example:9092"})
    assert (named.broker, named.is_broker_embedded) == ("kafka.example:9092", False)


def test_librdkafka_options_reach_every_client() -> None:
    """SALESVIEWS_KAFKA_OPTIONS is in the configuration that clients start from, beside the address."""
    read = settings.read(
        {"SALESVIEWS_BROKER": "b:1", "SALESVIEWS_KAFKA_OPTIONS": '{"security.protocol": "SSL", "socket.timeout.ms": 5}'}
    )
    assert read.kafka_config == {"bootstrap.servers": "b:1", "security.protocol": "SSL", "socket.timeout.ms": "5"}


def test_credentials_reach_every_client_and_are_shown_to_nobody(tmp_path: Path) -> None:
    """What Kafka asks for is in the configuration that clients start from, and not in the settings' text."""
    authority = tmp_path / "ca.pem"
    authority.touch()
    read = settings.read(
        {
            "SALESVIEWS_BROKER": "b:1",
            "SALESVIEWS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "SALESVIEWS_KAFKA_CA_FILE": str(authority),
            "SALESVIEWS_KAFKA_USERNAME": "shop",
            "SALESVIEWS_KAFKA_PASSWORD": "hunter2",
        }
    )
    assert read.kafka_config == {
        "bootstrap.servers": "b:1",
        "security.protocol": "sasl_ssl",
        "ssl.ca.location": str(authority),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "shop",
        "sasl.password": "hunter2",
    }
    assert "hunter2" not in repr(read)


def test_a_lake_in_an_object_store_has_what_reaches_it() -> None:
    """What Delta takes: commits are puts that fail where there is one; keys only where they are given."""
    there = {"SALESVIEWS_LAKE": "s3://sales/lake", "SALESVIEWS_S3_ENDPOINT": "http://minio:9000"}
    keys = {"SALESVIEWS_S3_ACCESS_KEY_ID": "shop", "SALESVIEWS_S3_SECRET_ACCESS_KEY": "hunter2"}
    read = settings.read(there | keys)
    assert read.lake_options == {
        "AWS_ENDPOINT_URL": "http://minio:9000",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "shop",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_ALLOW_HTTP": "true",
        "aws_conditional_put": "etag",
    }
    assert "hunter2" not in repr(read)
    assert settings.read(there).lake_options.keys() & {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} == set()
    assert settings.read(keys).lake_options == {}


@pytest.mark.parametrize("missing", ["KAFKA_USERNAME", "KAFKA_PASSWORD"])
def test_a_client_that_must_say_who_it_is_needs_a_name_and_a_password(missing: str) -> None:
    """The error names the one that is missing, before anything starts."""
    given = {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_USERNAME": "shop", "KAFKA_PASSWORD": "hunter2", missing: ""}
    with pytest.raises(SettingError, match=f"SALESVIEWS_{missing} is needed"):
        settings.read({settings.PREFIX + name: value for name, value in given.items()})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_SECURITY_PROTOCOL", "tls"),
        ("LAKE", "gs://sales/lake"),
        ("LAKE", "s3:///lake"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_CA_FILE", "/no/such/file.pem"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PORT", "٨٠"),
        ("KAFKA_PORT", "-1"),
        ("PARTITIONS", "0"),
        ("PARTITIONS", "1.5"),
        ("BRONZE_INTERVAL_S", "nan"),
        ("BRONZE_INTERVAL_S", "0"),
        ("SNAPSHOT_INTERVAL_S", "inf"),
        ("SNAPSHOT_INTERVAL_S", "soon"),
        ("DEDUP_DAYS", "-3"),
        ("INGEST_PROCESSES", "two"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    """The error has the variable, the value, and what it takes; it ends a process with status 2."""
    with pytest.raises(SettingError) as caught:
        settings.read({f"SALESVIEWS_{name}": value})
    assert f"SALESVIEWS_{name}={value!r}" in str(caught.value)
    assert "it takes" in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("text", ["[1]", "sasl.password=hunter2", '"hunter2"'])
def test_a_secret_is_not_shown(text: str) -> None:
    """Options may hold a password: their text appears in no message."""
    with pytest.raises(SettingError) as caught:
        settings.read({"SALESVIEWS_KAFKA_OPTIONS": text})
    assert text not in str(caught.value)
    assert "(secret)" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:81"),
        ("::", "http://[::1]:81"),
        ("::1", "http://[::1]:81"),
        ("shop.example", "http://shop.example:81"),
    ],
)
def test_the_url_can_be_reached_from_this_machine(host: str, url: str) -> None:
    """An address that means all of them is no address to call."""
    assert settings.read({"SALESVIEWS_HOST": host, "SALESVIEWS_PORT": "81"}).url == url


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
_SECONDS = st.floats(0.001, 86_399.0).map(repr)
_NUMBER = st.integers(1, 65535).map(str)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "SALESVIEWS_HOME": _TEXT.filter(lambda text: not text.startswith("~")),
            "SALESVIEWS_LAKE": _TEXT.filter(lambda text: "://" not in text),
            "SALESVIEWS_BROKER": _TEXT,
            "SALESVIEWS_KAFKA_OPTIONS": st.dictionaries(_TEXT, _TEXT).map(json.dumps),
            "SALESVIEWS_KAFKA_PORT": _NUMBER,
            "SALESVIEWS_TOPIC": _TEXT,
            "SALESVIEWS_PORT": _NUMBER,
            "SALESVIEWS_BRONZE_INTERVAL_S": _SECONDS,
            "SALESVIEWS_SNAPSHOT_INTERVAL_S": _SECONDS,
            "SALESVIEWS_DEDUP_DAYS": _NUMBER,
            "SALESVIEWS_INSTANCE": _TEXT,
            "SALESVIEWS_LOG_LEVEL": st.sampled_from(settings.LOG_LEVELS),
        },
    )
)
def test_a_child_process_has_the_same_settings(environment: dict[str, str]) -> None:
    """``environment`` is the inverse of ``read``, whatever is set."""
    parent = settings.read(environment)
    assert settings.read(settings.environment(parent)) == parent


@pytest.mark.parametrize("text", ["short", "twenty letters, but a space", "é" * 30, "x" * 15])
def test_a_token_is_long_and_never_shown(text: str) -> None:
    """Law: what could be guessed is refused, and no message or printed setting has a token in it."""
    with pytest.raises(SettingError) as caught:
        settings.read({"SALESVIEWS_WEB_TOKEN": text})
    assert text not in str(caught.value)
    token = "x" * 16
    read = settings.read({"SALESVIEWS_WEB_TOKEN": token})
    assert read.web_token == token
    assert token not in repr(read)
