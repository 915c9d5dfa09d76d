"""The registry client against a running registry: numbers, references, auth, outages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling.config import parse_config
from labeling.config.cluster import RegistryConfig
from labeling.errors import ConfigError, RegistryUnavailable
from labeling.io.decode_avro import avro_reader
from labeling.io.decode_protobuf import ProtobufSchema
from labeling.io.registry import Registry, UnknownSchemaError, source_registry
from tests.registry_server import RegistryServer, registry_server
from tests.wire_records import avro_bytes, proto_file, serialized

QUICK: dict[str, Any] = {"max.retries": 0, "timeout": 5}
USER = {"type": "record", "name": "User", "fields": [{"name": "id", "type": "string"}]}
EVENT = {"type": "record", "name": "Event", "fields": [{"name": "user", "type": "User"}]}
BATCH = {"type": "record", "name": "Batch", "fields": [{"name": "event", "type": "Event"}]}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """An empty registry."""
    with registry_server() as running:
        yield running


def client(server: RegistryServer, **settings: str) -> Registry:
    """A client that does not try again by itself."""
    return Registry(RegistryConfig(url=server.url, settings={**QUICK, **settings}))


def test_asked_once(server: RegistryServer) -> None:
    """A schema is read once and kept; one that is not there is asked for again, and found later."""
    registry = client(server)
    with pytest.raises(UnknownSchemaError, match="schema 1: Schema not found"):
        registry.schema(1)
    assert server.register("users", json.dumps(USER)) == 1
    server.asked.clear()
    found = [registry.schema(1) for _ in range(3)]
    assert server.asked == ["/schemas/ids/1"]
    assert found[0].kind == "AVRO"
    assert json.loads(found[0].text) == USER


def test_avro_references(server: RegistryServer) -> None:
    """A schema that refers to others, over two steps, decodes; each is asked for once."""
    server.register("users", json.dumps(USER))
    server.register("events", json.dumps(EVENT), references=(("User", "users", 1),))
    refers = (("User", "users", 1), ("Event", "events", 1))
    number = server.register("batches", json.dumps(BATCH), references=refers)
    schema = client(server).schema(number)
    assert [name for name, _ in schema.references] == ["User", "Event"]
    whole = {**BATCH, "fields": [{"name": "event", "type": {
        **EVENT, "fields": [{"name": "user", "type": USER}]}}]}  # fmt: skip
    record = {"event": {"user": {"id": "u1"}}}
    assert avro_reader(schema)(avro_bytes(whole, record, number)[5:]) == record


def test_protobuf_references(server: RegistryServer) -> None:
    """A Protobuf schema comes serialized, with the files that it imports."""
    other = proto_file()
    other.name = "default"  # what a registry may call a file
    server.register("event", serialized(other), "PROTOBUF")
    file = proto_file()
    file.Clear()
    file.name, file.package = "batch.proto", "app"
    file.dependency.append("app/event.proto")
    message = file.message_type.add(name="Batch")
    message.field.add(name="events", number=1, type=11, type_name=".app.Event", label=3)
    refers = (("app/event.proto", "event", 1),)
    number = server.register("batch", serialized(file), "PROTOBUF", references=refers)
    read = ProtobufSchema(client(server).schema(number)).reader((0,))
    assert read(b"\x0a\x04\x0a\x02e1")["events"][0]["id"] == "e1"


def test_missing_reference(server: RegistryServer) -> None:
    """A schema that refers to what the registry does not have is unknown, by name."""
    number = server.register("events", json.dumps(EVENT), references=(("User", "users", 1),))
    with pytest.raises(UnknownSchemaError, match=f"schema {number}: Subject not found"):
        client(server).schema(number)


def test_down(server: RegistryServer) -> None:
    """503, and a server that is gone, are an outage with the registry's address, not an answer."""
    number = server.register("users", json.dumps(USER))
    registry = client(server)
    server.down = True
    with pytest.raises(RegistryUnavailable, match=rf"{server.url}: down for a while"):
        registry.schema(number)
    server.down = False
    assert registry.schema(number).number == number
    gone = Registry(RegistryConfig(url="http://127.0.0.1:9", settings=QUICK))
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:9"):
        gone.schema(1)


@pytest.mark.parametrize("way", ["basic", "bearer"])
def test_auth(server: RegistryServer, way: str) -> None:
    """Settings carry a user or a token; without them the refusal is an outage that says so."""
    number = server.register("users", json.dumps(USER))
    if way == "basic":
        server.user, settings = "me:secret", {"basic.auth.user.info": "me:secret"}
    else:
        server.token = "t0ken"  # noqa: S105 - of this test
        settings = {
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": "t0ken",
            "bearer.auth.logical.cluster": "lsrc-1",
        }
    assert client(server, **settings).schema(number).number == number
    with pytest.raises(RegistryUnavailable, match="Unauthorized"):
        client(server).schema(number)


def test_wrong_settings() -> None:
    """A setting that the client does not know is an error of the configuration, by name."""
    with pytest.raises(ConfigError, match=r"no\.such\.setting"):
        Registry(RegistryConfig(url="http://127.0.0.1:9", settings={"no.such.setting": "x"}))
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9"):
        Registry(RegistryConfig(url="http://127.0.0.1:9", settings={"ssl.ca.location": "/no/file"}))


def test_of_a_source() -> None:
    """A source's registry is its cluster's; JSON needs none."""
    tree: dict[str, Any] = {
        "source": [{"name": form, "format": form, "topics": "t"} for form in ("json", "avro")],
        "cluster": {"main": {"bootstrap": "x:1", "registry": {"url": "http://127.0.0.1:9"}}},
    }
    config = parse_config(tree, Path("/p/labeling.toml"))
    assert source_registry(config, config.sources[0]) is None
    found = source_registry(config, config.sources[1])
    assert found is not None
    assert found.url == "http://127.0.0.1:9"
    del tree["cluster"]["main"]["registry"]
    config = parse_config(tree, Path("/p/labeling.toml"))
    with pytest.raises(ConfigError, match=r"\[cluster\.main\.registry\]"):
        source_registry(config, config.sources[1])
