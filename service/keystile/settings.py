"""Every setting, read from `KEYSTILE_…` variables once; all faults are reported together."""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from keystile.catalogue import client_roles, parse_catalogue
from keystile.claims import parse_resource
from keystile.durations import parse_duration
from keystile.errors import ConfigurationError, KeystileError
from keystile.expiries import parse_expiry, parse_longest
from keystile.gates import Convention, Gate, read_gates
from keystile.keys import Stamps, check_brand
from keystile.limits import DEFAULT_LEVELS, Levels
from keystile.owner_claims import OwnerClaims, parse_owner_claims
from keystile.peppers import Peppers
from keystile.policy import RESERVED_SCOPES, is_at_or_below
from keystile.realm_scopes import LONGEST_NAME, audience_scope, may_be_asked
from keystile.resource_servers import parse_resource_servers
from keystile.restrictions import parse_tenant_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic_settings import PydanticBaseSettingsSource

PREFIX = "KEYSTILE_"
NOT_SETTINGS = frozenset({"KEYSTILE_URL", "KEYSTILE_MCP_URL", "KEYSTILE_PID", "KEYSTILE_API_KEY"})  # for people
_LONGEST_USE = timedelta(minutes=90)  # of a verdict: well within what the change log and its memory keep
_LARGEST_GATE_FILE = 262_144  # bytes
_ADMIN_KEY = re.compile(r"[\x21-\x7e]{32,256}")


class Store(StrEnum):
    """Where owners and key records live."""

    EMBEDDED = "embedded"
    KEYCLOAK = "keycloak"


class IssuerKind(StrEnum):
    """Who signs the JWTs that keys give."""

    LOCAL = "local"
    KEYCLOAK = "keycloak"


def _parse_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _parse_duration(value: object) -> object:
    parsed = parse_duration(value) if isinstance(value, str) else None
    return value if parsed is None else parsed  # what is none is for pydantic to refuse


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_list)]
Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]


class Settings(BaseSettings):
    """One deployment's settings. Durations are `90s`, `15m`, `2h`, `1d`; lists are comma-separated."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, extra="ignore")

    store: Store = Field(Store.EMBEDDED, description="`embedded` (SQLite) or `keycloak`")
    data_dir: Path = Field(Path(".keystile"), description="writable folder: store, peppers, signing keys, journal")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8400, ge=1, le=65535, description="port to listen on")
    workers: int = Field(1, ge=1, le=64, description="worker processes")
    drain: Duration = Field(
        timedelta(seconds=1), description="from SIGTERM, seen in `/readyz`, to the end of accepting"
    )
    issuer: str = Field("", description="public base URL, with a path; default `http://127.0.0.1:{port}/sts`")
    issuer_kind: IssuerKind = Field(
        IssuerKind.LOCAL, description="who signs JWTs: `local` (Keystile) or `keycloak` (the realm)"
    )
    default_audience: str = Field("", description="`aud` where none is asked; default `{issuer}/default`")
    audiences: Words = Field((), description="audiences that keys may list; unset: any absolute URI")
    scopes: Words = Field(
        (), description="scopes that keys may have, some only with a role: `a,b@role:r,c@role:client:r,d@group:/g`"
    )
    claim_roles: Words = Field((), description="owner's roles that JWTs tell in `roles`: `deployer`, `client:role`")
    claim_groups: Words = Field((), description="owner's groups that JWTs tell in `groups`: `/ops`")
    claim_mappers: Words = Field(
        (), description="owner's attributes that JWTs tell: `attribute:claim`, `attribute:claim[]` for a list"
    )
    token_ttl: Duration = Field(timedelta(minutes=5), description="life of a JWT, at most `1h`")
    signing_alg: Literal["RS256", "ES256", "EdDSA"] = Field(
        "RS256", description="algorithm of our JWTs: `RS256`, `ES256` or `EdDSA`"
    )
    signing_keys_dir: Path | None = Field(None, description="private signing keys; default `{data dir}/signing-keys`")
    jwks_max_age: Duration = Field(
        timedelta(minutes=5), description="how long verifiers may keep our public keys, at most `1d`"
    )
    peppers: SecretStr | None = Field(None, description="`id:secret[:retired],…`; embedded: made when unset")
    stamps: Stamps = Field(Stamps.ENFORCE, description="`advisory` lets keys with unknown stamps be looked up")
    brand: str = Field("mcpkey", description="first part of every key")
    always_bcrypt: bool = Field(default=False, description="demand bcrypt beside the digest")
    accept_test_keys: bool | None = Field(None, description="default: true on embedded, false on keycloak")
    older_keys: bool = Field(default=False, description="serve keys of the older format")
    older_hmac_secret: SecretStr | None = Field(None, description="secret of their `cacheHash`")
    older_bcrypt_records: int = Field(500, ge=0, le=5000, description="older records matched by bcrypt alone")
    default_expiry: str = Field("1y", description="life of a key where none is asked: `90d`, `1y`, `never`")
    tenant_defaults: str = Field("", description="JSON: what JWTs of a tenant carry where the key says nothing")
    max_expiry: str = Field("never", description="longest life a key may be given: `90d`, `1y`; `never`: any")
    max_keys_per_owner: int = Field(5, ge=1, le=50, description="live keys of one owner, at most 50")
    cache_ttl: Duration = Field(timedelta(minutes=15), description="longest use of a verdict")
    stale_ttl: Duration = Field(timedelta(minutes=15), description="use beyond that while Keycloak is down")
    cache_entries: int = Field(100_000, ge=0, description="verdicts kept in process, 0: none")
    failures_per_minute: int = Field(20, ge=1, description="failed look-ups per client address")
    trusted_proxies: Words = Field((), description="CIDRs whose forwarding headers are believed")
    forwarded_headers: Convention = Field(
        "x-forwarded", description="how they tell method and path: `x-forwarded`, `x-original` or `path`"
    )
    gates: Path | None = Field(None, description="TOML file: gates with audiences of their own; unset: `nginx` alone")
    levels: str = Field(
        DEFAULT_LEVELS, description="`name:hour/day/month/cents`: requests, cost in a month; `-`: no limit"
    )
    default_level: str = Field("", description="level of keys that name none")
    limits_without_redis: Literal["refuse", "allow"] = Field(
        "refuse", description="a limited key, its lease used up, while Redis is away: 503 or uncounted"
    )
    redis_url: SecretStr | None = Field(None, description="`redis://`, `rediss://` or `redis+sentinel://`")
    keycloak_url: str = Field("", description="base URL of Keycloak")
    keycloak_realm: str = Field("keystile", description="realm that holds the owners")
    keycloak_reader_id: str = Field("keystile-reader", description="client that reads")
    keycloak_reader_secret: SecretStr | None = Field(None, description="its secret")
    keycloak_writer_id: str = Field("keystile-writer", description="client that writes")
    keycloak_writer_secret: SecretStr | None = Field(None, description="its secret")
    keycloak_tokens_id: str = Field("keystile-tokens", description="client that asks for Keycloak-signed tokens")
    keycloak_tokens_secret: SecretStr | None = Field(None, description="its secret")
    realm_issuer: str = Field(
        "", description="`iss` of the realm's tokens; default `{keycloak url}/realms/{keycloak realm}`"
    )
    api_clients: Words = Field((), description="clients of the realm whose tokens manage keys; unset: none")
    resource_servers: Words = Field(
        (), description="clients of the realm that may introspect, and what they are: `client=audience audience,…`"
    )
    admin_key: SecretStr | None = Field(
        None, description="a way into the API before anybody has a role; 32+ characters"
    )
    self_registration: bool = Field(
        default=False, description="who signs a challenge with an unknown public key becomes an owner of their own"
    )
    self_registrations_per_day: int = Field(100, ge=1, le=10_000, description="how many of these in a day (UTC)")
    allow_plain_http: Words = Field((), description="hosts that may be reached unencrypted beside loopback")
    audit_log: Path | None = Field(None, description="file for audit lines; always also on standard error")
    traces: bool = Field(
        default=False, description="send a trace of each request; needs `keystile[otel]`, obeys `OTEL_…`"
    )
    _gates: dict[str, Gate] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        port = values.get("port") or cls.model_fields["port"].default
        issuer = values.get("issuer") or f"http://127.0.0.1:{port}/sts"
        values = {**values, "issuer": issuer}
        values.setdefault("default_audience", f"{issuer}/default")
        if not values.get("realm_issuer"):
            realm = values.get("keycloak_realm") or cls.model_fields["keycloak_realm"].default
            values["realm_issuer"] = _realm_url(str(values.get("keycloak_url") or ""), str(realm))
        if values.get("accept_test_keys") in (None, ""):
            values["accept_test_keys"] = values.get("store", Store.EMBEDDED) != Store.KEYCLOAK
        return values

    @model_validator(mode="after")
    def _check(self) -> Settings:
        faults = [*self._issuer_faults(), *self._keycloak_faults(), *self._key_faults(), *self._other_faults()]
        faults += [*self._realm_faults(), *self._gate_faults()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def issuer_path(self) -> str:
        """The path below which the doors are, `/sts` by default."""
        return urlsplit(self.issuer).path

    @property
    def realm_urls(self) -> tuple[str, ...]:
        """What the realm's own tokens are for: its issuer, and the address we reach it by."""
        urls = (self.realm_issuer, _realm_url(self.keycloak_url, self.keycloak_realm))
        return tuple(dict.fromkeys(url for url in urls if url))

    @property
    def catalogue(self) -> dict[str, str]:
        """The scopes that keys may have, each with the role or group its owner needs; empty: any scope."""
        return parse_catalogue(self.scopes)

    @property
    def introspecting(self) -> dict[str, tuple[str, ...]]:
        """The clients of the realm that are resource servers, each with its audiences."""
        return parse_resource_servers(self.resource_servers)

    @property
    def configured_gates(self) -> dict[str, Gate]:
        """The gates of the file, by their names, as they were read and checked at the start."""
        return self._gates

    @property
    def owner_claims(self) -> OwnerClaims:
        """What JWTs tell of owners."""
        return parse_owner_claims(self.claim_roles, self.claim_groups, self.claim_mappers)

    @property
    def marked_roles(self) -> tuple[str, ...]:
        """The roles of clients that the reader has to see: scopes need them, or JWTs tell them."""
        told = (role for role in self.claim_roles if ":" in role)
        return tuple(dict.fromkeys((*client_roles(self.catalogue), *told)))

    @property
    def realm_signs(self) -> bool:
        """Whether keys give tokens of the realm."""
        return self.issuer_kind is IssuerKind.KEYCLOAK

    @property
    def assertion_issuer(self) -> str:
        """The `iss` of the assertions by which the realm is asked for tokens: nobody's but theirs."""
        return f"{self.issuer}/assertions"

    @property
    def assertion_dir(self) -> Path:
        """The folder of the key that signs assertions: beside our signing keys, and none of them."""
        return self.signing_dir / "assertions"

    @property
    def mapped_audiences(self) -> tuple[str, ...]:
        """The audiences that set-up makes the realm know."""
        wanted = dict.fromkeys((self.default_audience, *self.audiences))
        return tuple(audience for audience in wanted if len(audience_scope(audience)) <= LONGEST_NAME)

    @property
    def realm_scopes(self) -> tuple[str, ...]:
        """The scopes that set-up makes the realm know: reserved ones are for our own JWTs alone."""
        return tuple(filter(may_be_asked, self.catalogue))

    @property
    def jwks_uri(self) -> str:
        """Where the keys are that verify what we give."""
        return f"{self.realm_issuer}/protocol/openid-connect/certs" if self.realm_signs else f"{self.issuer}/jwks.json"

    @property
    def api_audience(self) -> str:
        """The `aud` of JWTs for the management API."""
        return f"{self.issuer}/api/v1"

    @property
    def older_secret(self) -> bytes | None:
        """The secret under which older records' `cacheHash` was made."""
        return self.older_hmac_secret.get_secret_value().encode() if self.older_hmac_secret else None

    @property
    def signing_dir(self) -> Path:
        """The folder of the private signing keys."""
        return self.signing_keys_dir or self.data_dir / "signing-keys"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment with `…_FILE` resolved."""
        return init_settings, _FileEnvSource(settings_cls)

    def _issuer_faults(self) -> list[str]:
        parts = urlsplit(self.issuer)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            return ["KEYSTILE_ISSUER is an http or https URL without query and fragment"]
        if len(parts.path) < 2 or parts.path.endswith("/"):  # noqa: PLR2004 - "/" alone is no path
            return ["KEYSTILE_ISSUER has a path and no trailing slash, like https://id.example.com/sts"]
        return []

    def _keycloak_faults(self) -> list[str]:
        if self.store is not Store.KEYCLOAK:
            return []
        needed: dict[str, object] = {
            "KEYCLOAK_URL": self.keycloak_url,
            "KEYCLOAK_READER_SECRET": self.keycloak_reader_secret,
            "REDIS_URL": self.redis_url,
            "PEPPERS": self.peppers,
        }
        faults = [
            f"KEYSTILE_{name} is needed with KEYSTILE_STORE=keycloak" for name, value in needed.items() if not value
        ]
        if urlsplit(self.keycloak_url).scheme not in ("http", "https", ""):
            faults.append("KEYSTILE_KEYCLOAK_URL is an http or https URL")
        faults += self._plain_faults("KEYSTILE_KEYCLOAK_URL", self.keycloak_url, "http")
        faults += self._plain_faults("KEYSTILE_REDIS_URL", _secret(self.redis_url), "redis", "redis+sentinel")
        return faults

    def _realm_faults(self) -> list[str]:
        """Return what the realm could not sign as it would have to."""
        if not self.realm_signs:
            return []
        if self.store is not Store.KEYCLOAK:
            return ["KEYSTILE_ISSUER_KIND=keycloak needs KEYSTILE_STORE=keycloak"]
        needed = {"TOKENS_SECRET": self.keycloak_tokens_secret, "WRITER_SECRET": self.keycloak_writer_secret}
        faults = [
            f"KEYSTILE_KEYCLOAK_{name} is needed with KEYSTILE_ISSUER_KIND=keycloak"
            for name, value in needed.items()
            if not value
        ]
        if self.accept_test_keys:
            faults.append("KEYSTILE_ACCEPT_TEST_KEYS: a token of the realm cannot say that it stands for a test key")
        faults += [
            f"KEYSTILE_SCOPES: {scope!r} has a meaning of its own in Keycloak"
            for scope in self._catalogue_or_nothing()
            if scope not in RESERVED_SCOPES and not may_be_asked(scope)
        ]
        too_long = {self.default_audience, *self.audiences} - set(self.mapped_audiences)
        return faults + [f"KEYSTILE_AUDIENCES: {each} is too long for Keycloak" for each in sorted(too_long)]

    def _catalogue_or_nothing(self) -> Iterable[str]:
        try:
            return self.catalogue
        except KeystileError:  # told by `_key_faults`
            return ()

    def _plain_faults(self, name: str, url: str, *plain: str) -> list[str]:
        parts = urlsplit(url)
        hosts = [_host_of(node) for node in parts.netloc.split(",")]
        open_hosts = [host for host in hosts if not _is_loopback(host) and host not in self.allow_plain_http]
        if parts.scheme in plain and url and open_hosts:
            return [f"{name} is not encrypted: use TLS, or name its host in KEYSTILE_ALLOW_PLAIN_HTTP"]
        return []

    def _key_faults(self) -> list[str]:
        checks: list[tuple[str, Callable[[], object]]] = [
            ("BRAND", lambda: check_brand(self.brand)),
            ("PEPPERS", lambda: Peppers.parse(self.peppers.get_secret_value()) if self.peppers else None),
            ("DEFAULT_EXPIRY", lambda: parse_expiry(self.default_expiry, datetime.now(UTC))),
            ("TENANT_DEFAULTS", lambda: parse_tenant_defaults(self.tenant_defaults)),
            ("MAX_EXPIRY", lambda: parse_longest(self.max_expiry)),
            ("SCOPES", self._check_scopes),
            ("CLAIM_ROLES, _GROUPS, _MAPPERS", self._check_owner_claims),
            ("AUDIENCES", lambda: [parse_resource(audience) for audience in self.audiences]),
            ("DEFAULT_AUDIENCE", lambda: parse_resource(self.default_audience)),
            ("RESOURCE_SERVERS", self._check_resource_servers),
            ("LEVELS", lambda: Levels.parse(self.levels, self.default_level)),
        ]
        return [fault for name, check in checks for fault in _fault(name, check)]

    def _check_scopes(self) -> None:
        bound = [scope for scope, needed in self.catalogue.items() if needed]
        if bound and self.store is not Store.KEYCLOAK:
            raise ConfigurationError(f"{bound[0]!r} needs KEYSTILE_STORE=keycloak: owners have no roles elsewhere")

    def _check_resource_servers(self) -> None:
        named = self.introspecting
        if named and self.store is not Store.KEYCLOAK:
            raise ConfigurationError("clients need KEYSTILE_STORE=keycloak; anywhere, a key with the scope introspect")
        if any(self.api_audience in audiences for audiences in named.values()):
            raise ConfigurationError("the management API's own audience is nobody else's")

    def _check_owner_claims(self) -> None:
        if self.owner_claims and self.store is not Store.KEYCLOAK:
            raise ConfigurationError("these need KEYSTILE_STORE=keycloak: owners have none elsewhere")

    def _gate_faults(self) -> list[str]:
        """Read the gates, this once: what was checked is what is used."""
        if self.gates is None:
            return []
        try:
            self._gates, faults = read_gates(_read_gate_file(self.gates))
        except (OSError, UnicodeDecodeError):
            return [f"KEYSTILE_GATES: {self.gates} cannot be read, or is larger than {_LARGEST_GATE_FILE} bytes"]
        ours = (self.issuer, self.api_audience)  # who has a JWT for these can do more with it than show it to a service
        faults += [
            f"gates.{name}.audience: it is never the issuer, the API or the realm"
            for name, gate in self._gates.items()
            if gate.audience in ours or is_at_or_below(gate.audience, self.realm_urls)
        ]
        return [f"KEYSTILE_GATES: {fault}" for fault in faults]

    def _api_faults(self) -> list[str]:
        faults = []
        if self.keycloak_tokens_id in self.api_clients:
            faults.append("KEYSTILE_API_CLIENTS: tokens of KEYSTILE_KEYCLOAK_TOKENS_ID stand for keys, not for people")
        if self.default_audience == self.api_audience:
            faults.append("KEYSTILE_DEFAULT_AUDIENCE is not the API's own: every key gets JWTs for it")
        if self.default_audience == self.issuer:
            faults.append("KEYSTILE_DEFAULT_AUDIENCE is not KEYSTILE_ISSUER: any JWT could be exchanged for another")
        if self.admin_key and not _ADMIN_KEY.fullmatch(self.admin_key.get_secret_value()):
            faults.append("KEYSTILE_ADMIN_KEY is 32 to 256 printable characters without spaces: openssl rand -hex 32")
        return faults

    def _other_faults(self) -> list[str]:
        faults = self._api_faults()
        if not timedelta(seconds=1) <= self.token_ttl <= timedelta(hours=1):
            faults.append("KEYSTILE_TOKEN_TTL is between 1s and 1h")
        if not timedelta(seconds=1) <= self.jwks_max_age <= timedelta(days=1):
            faults.append("KEYSTILE_JWKS_MAX_AGE is between 1s and 1d")
        if self.cache_ttl + self.stale_ttl > _LONGEST_USE:
            faults.append("KEYSTILE_CACHE_TTL and KEYSTILE_STALE_TTL are at most 90m together: changes are kept for 2h")
        if is_at_or_below(self.default_audience, self.realm_urls):
            faults.append("KEYSTILE_DEFAULT_AUDIENCE is neither the realm's issuer nor a URL below it")
        faults += _unreadable_files()
        for cidr in self.trusted_proxies:
            try:
                ipaddress.ip_network(cidr, strict=False)
            except ValueError:
                faults.append(f"KEYSTILE_TRUSTED_PROXIES: {cidr} is not a CIDR")
        return faults


class _FileEnvSource(EnvSettingsSource):
    """The environment, where `NAME_FILE` names a file that holds the value of `NAME`."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        variables = dict(super()._load_env_vars())
        for key, path in _files_named_in(variables).items():
            with suppress(OSError, UnicodeDecodeError):  # `_unreadable_files` tells of these beside the other faults
                variables[key] = _read_secret(path)
        return variables


def load_settings(**overrides: object) -> Settings:
    """Return the settings of this environment, or raise one `ConfigurationError` naming every fault."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors(include_input=False, include_url=False)]
        faults += _remaining_faults(error, overrides)
        raise ConfigurationError("; ".join(faults)) from None  # the cause would show values


def _remaining_faults(error: ValidationError, overrides: dict[str, object]) -> list[str]:
    # Checks across fields run only once every field is valid: look again with defaults for the broken ones.
    broken = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
    if not broken:
        return []
    mended = {name: Settings.model_fields[name].default for name in broken}
    try:
        Settings(**{**overrides, **mended})
    except ValidationError as second:
        return [_describe(fault) for fault in second.errors(include_input=False, include_url=False)]
    return []


def unknown_settings() -> list[str]:
    """Return the names of `KEYSTILE_…` variables nobody reads: most often a typing error."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known | NOT_SETTINGS)


def _describe(fault: Any) -> str:  # noqa: ANN401 - pydantic's dictionary
    names = [f"{PREFIX}{str(part).upper()}" for part in fault["loc"][:1]]
    return " ".join([*names, str(fault["msg"]).removeprefix("Value error, ")])


def _files_named_in(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return the files of all settings that have one and no direct value; names in lower case."""
    keys = [f"{PREFIX}{name}".lower() for name in Settings.model_fields]
    return {key: path for key in keys if (path := variables.get(f"{key}_file")) and not variables.get(key)}


def _unreadable_files() -> list[str]:
    faults = []
    for key, path in _files_named_in({name.lower(): value for name, value in os.environ.items()}).items():
        try:
            _read_secret(path)
        except (OSError, UnicodeDecodeError):
            faults.append(f"{key.upper()}_FILE: {path} cannot be read")
    return faults


def _read_secret(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()


def _read_gate_file(path: Path) -> str:
    if path.stat().st_size > _LARGEST_GATE_FILE:
        raise OSError("too large")
    return path.read_text(encoding="utf-8")


def _host_of(node: str) -> str:
    """Return the host of `user:password@host:port`, an IPv6 one in its brackets."""
    host = node.rpartition("@")[2]
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _fault(name: str, check: Callable[[], object]) -> list[str]:
    try:
        check()
    except KeystileError as error:
        return [f"{PREFIX}{name}: {error}"]
    return []


def _realm_url(keycloak_url: str, realm: str) -> str:
    return f"{keycloak_url.rstrip('/')}/realms/{realm}" if keycloak_url else ""


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
