"""A Confluent schema registry: the schema behind the number that a message begins with.

Always holds: a schema that was once read is never asked for again (a number's schema never
changes); a number that the registry does not know is asked for again each time, since it may be
registered later. A registry that does not answer, or refuses us, is ``RegistryUnavailable``,
never an unknown schema.

Not promised: that a schema can be used to decode. Who decodes says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx2
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

from labeling.config.cluster import RegistryConfig
from labeling.config.settings import Config
from labeling.config.source import SourceConfig
from labeling.errors import ConfigError, RegistryUnavailable

#: Codes by which a registry says that it does not have a subject, a version, a schema.
_NOT_THERE: Final = (40401, 40402, 40403)
#: Unless set: the caller waits and asks again, so one question is answered or given up soon.
_DEFAULTS: Final = {"timeout": 10, "max.retries": 2, "retries.max.wait.ms": 1_000}
_DOWN: Final = (httpx2.HTTPError, OAuthTokenError, OSError)


class UnknownSchemaError(Exception):
    """The registry answers, and does not have the schema or one that it refers to."""


@dataclass(frozen=True)
class WriterSchema:
    """A schema as the registry has it.

    Attributes:
        number: its id.
        kind: ``AVRO``, ``PROTOBUF`` or ``JSON``.
        text: Avro: JSON. Protobuf: a FileDescriptorProto in base64.
        references: name and text of the schemas that it refers to, each before those that need it.
    """

    number: int
    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class Registry:
    """Asks one registry; made once per cluster, not for several threads at a time.

    Raises:
        ConfigError: the client does not take the settings.
    """

    def __init__(self, config: RegistryConfig) -> None:
        self.url = config.url
        settings: dict[str, Any] = {**_DEFAULTS, **config.settings, "url": config.url}
        try:
            # The client keeps a schema by its number, whatever form of it was asked for.
            self._plain = SchemaRegistryClient(dict(settings))
            self._serialized = SchemaRegistryClient(dict(settings))
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(f"registry {config.url}: {error}") from None
        self._schemas: dict[int, WriterSchema] = {}

    def schema(self, number: int) -> WriterSchema:
        """The schema of that id, with all that it refers to.

        Raises:
            UnknownSchemaError: the registry does not have it.
            RegistryUnavailable: no answer, or a refusal; ask again later.
        """
        if number not in self._schemas:
            try:
                self._schemas[number] = self._ask(number)
            except SchemaRegistryError as error:
                if error.error_code in _NOT_THERE:
                    raise UnknownSchemaError(f"schema {number}: {error.error_message}") from None
                raise self._unavailable(error) from None
            except _DOWN as error:
                raise self._unavailable(error) from None
        return self._schemas[number]

    def _ask(self, number: int) -> WriterSchema:
        found = self._plain.get_schema(number)
        client, form = self._plain, None
        if found.schema_type == "PROTOBUF":
            client, form = self._serialized, "serialized"
            found = client.get_schema(number, fmt=form)
        texts: dict[str, str] = {}
        self._refer(client, form, found, texts)
        kind = found.schema_type or "AVRO"
        return WriterSchema(number, kind, found.schema_str or "", tuple(texts.items()))

    def _refer(
        self, client: SchemaRegistryClient, form: str | None, schema: Any, texts: dict[str, str]
    ) -> None:
        """Add what a schema refers to, depth first."""
        for reference in schema.references or ():
            if reference.name not in texts:
                other = client.get_version(reference.subject, reference.version, True, form).schema
                self._refer(client, form, other, texts)
                texts[reference.name] = other.schema_str or ""

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        said = str(error) or type(error).__name__
        return RegistryUnavailable(
            f"schema registry {self.url}: {said}; what it is needed for waits: "
            "start the registry, or correct url and settings in [cluster.NAME.registry]"
        )


def source_registry(config: Config, source: SourceConfig) -> Registry | None:
    """The registry of the source's cluster; None where its format needs none.

    Raises:
        ConfigError: it needs one, and the cluster has none.
    """
    if source.format not in ("avro", "protobuf"):
        return None
    name = config.cluster_name(source.cluster)
    found = config.clusters[name].registry
    if found is None:
        raise ConfigError(
            f"[[source]] {source.name!r}: format {source.format!r} needs a schema registry; "
            f"write [cluster.{name}.registry] with its url"
        )
    return Registry(found)
