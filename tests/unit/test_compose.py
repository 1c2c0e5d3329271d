"""docker-compose.yml and service/Dockerfile, checked against the code they run, with no Docker at hand."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from contextlib import suppress
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
import typer.main
import yaml
from packaging.requirements import Requirement

from keystile.adapters.redis.durability import check_durability
from keystile.http.app import create_app
from keystile.http.front import make_doors
from keystile.http.metrics.reading import read
from keystile.http.metrics.workers import Workers
from keystile.mcp import KeystileTokenVerifier
from keystile.mcp.example import example_server
from keystile.mcp.example import main as example
from keystile.settings import Settings, Store, load_settings, unknown_settings
from keystile.wiring import load_peppers, open_deployment, worker_files
from stack.artefacts import VERSION
from unit.shipped import ROOT, SECRET_NAME, image_environment, instructions, set_environment, understood

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink

COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = ("secrets", "setup")
EXAMPLE_ENV = dict(line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line)


class Made:
    """What the one-shot `secrets` made: its files below *root*, and the user each path was given to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.users: dict[Path, int] = {}

    def run(self) -> dict[Path, str]:
        """Run the one-shot as it stands in the file; return what all files hold."""
        (script,) = SERVICES["secrets"]["command"]
        umask = os.umask(0)
        try:
            with suppress(SystemExit):  # there is nothing to do
                exec(script.replace('"/secrets"', repr(str(self.root))), {})  # noqa: S102 - what is tested
        finally:
            os.umask(umask)
        return {path: path.read_text() for path in self.root.rglob("*") if path.is_file()}

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of that service, with the files where they were made here."""
        return {name: value.replace("/secrets", str(self.root)) for name, value in environment(service).items()}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    root = tmp_path / "secrets"
    root.mkdir()
    made = Made(root)
    monkeypatch.setattr(os, "chown", lambda path, user, _group: made.users.__setitem__(Path(path), user))
    monkeypatch.setattr(os, "sync", lambda: None)
    made.run()
    return made


def interpolated(text: str) -> str:
    """Return *text* as Compose reads it where no variable is set; the innermost default comes first."""
    while (plain := re.sub(r"(?<!\$)\$\{\w+:-([^${}]*)\}", r"\1", text)) != text:
        text = plain
    return text.replace("$$", "$")


def environment(service: str) -> dict[str, str]:
    return {name: interpolated(value) for name, value in SERVICES[service].get("environment", {}).items()}


def user_of(service: str) -> int:
    return int(SERVICES[service]["user"].partition(":")[0])


def secret_paths(service: str) -> set[str]:
    return set(re.findall(r"/secrets/([\w./-]+)", json.dumps(SERVICES[service])))


def test_secrets_are_made_once(made: Made) -> None:
    """A second run changes nothing, and one that was cut short is begun again."""
    first = made.run()
    assert made.run() == first
    (made.root / "complete").unlink()
    assert made.run().keys() == first.keys()


def test_secrets_are_for_their_reader_alone(made: Made) -> None:
    """Each file and its folder belong to the user of the service they are named after, and nobody else may read."""
    for path, text in made.run().items():
        if path.parent == made.root:
            assert not text
            continue
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert made.users[path] == made.users[path.parent] == user_of(path.parent.name)


@pytest.mark.parametrize("service", [name for name in SERVICES if name not in ("secrets", "mcp")])
def test_every_secret_a_service_reads_is_made_for_it(service: str, made: Made) -> None:
    """What a service reads is in its own folder, and is there before the service starts."""
    paths = secret_paths(service)
    assert paths
    for path in paths:
        assert (made.root / path).is_file()
        assert path.startswith(f"{service}/")
    assert "secrets:/secrets:ro" in SERVICES[service]["volumes"]
    assert SERVICES[service]["depends_on"]["secrets"]["condition"] == "service_completed_successfully"


def test_users_differ_and_are_not_root() -> None:
    """No two services share a user, and only the one that hands secrets out is root, without a network."""
    users = {name: user_of(name) for name in SERVICES}
    assert len(set(users.values())) == len(users)
    assert [name for name, user in users.items() if user == 0] == ["secrets"]
    assert SERVICES["secrets"]["network_mode"] == "none"


@pytest.mark.parametrize("service", SERVICES)
def test_services_hold_no_rights_they_do_not_need(service: str) -> None:
    """Every capability is dropped, none can be gained, and what is ours has nothing but a volume to write to."""
    described = SERVICES[service]
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described.get("cap_add", []) == (["CHOWN", "DAC_OVERRIDE"] if service == "secrets" else [])
    assert "privileged" not in described
    if described["image"].startswith("keystile:"):
        assert described["read_only"] is True
        assert described["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's


def test_settings_of_keystile_are_whole(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystile starts with what the file sets: all is known to it, nothing is missing, secrets are read."""
    set_environment(monkeypatch, image_environment() | made.environment("keystile"))
    settings = load_settings()
    assert unknown_settings() == []
    assert settings.store is Store.KEYCLOAK
    assert settings.issuer == "http://127.0.0.1:8400/sts"
    assert str(settings.data_dir) in json.dumps(SERVICES["keystile"]["volumes"])
    assert load_peppers(settings).current.id


def test_setup_and_keystile_agree(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set-up gives the clients of the same realm the very secrets that Keystile presents."""
    read = []
    for service in ("setup", "keystile"):
        with monkeypatch.context() as patch:
            set_environment(patch, made.environment(service))
            assert unknown_settings() == []
            settings = load_settings()
        clients = (settings.keycloak_reader_secret, settings.keycloak_writer_secret, settings.keycloak_tokens_secret)
        assert all(clients)
        read.append((settings.keycloak_url, settings.keycloak_realm, *clients))
    assert read[0] == read[1]


def test_servers_and_their_clients_agree(made: Made) -> None:
    """Redis, PostgreSQL and Keycloak's administrator have the passwords their clients present."""
    held = {str(path.relative_to(made.root)): text.strip() for path, text in made.run().items()}
    assert held["redis/redis.conf"] == f"requirepass {held['redis/password']}"
    assert held["keystile/redis-url"] == f"redis://:{held['redis/password']}@redis:6379/0"
    assert held["postgres/password"] == held["keycloak/database-password"]
    assert held["keycloak/admin-password"] == held["setup/admin-password"]


def test_no_secret_stands_in_the_files() -> None:
    """Whatever is named like a secret is read from a file that the one-shot made."""
    for service in SERVICES:
        for name, value in environment(service).items():
            if SECRET_NAME.search(name):
                assert name.endswith("_FILE")
                assert value.startswith("/secrets/")
    for name in [*image_environment(), *EXAMPLE_ENV]:
        assert not SECRET_NAME.search(name)
    for name, value in re.findall(r"(\w*(?:PASSWORD|AUTH)\w*)=(\S+)", COMPOSE_TEXT):
        assert value.startswith("$$(cat"), name
    assert "--requirepass" not in COMPOSE_TEXT


def test_example_names_what_can_be_changed() -> None:
    """.env.example names every variable of the file, each with its default."""
    names = set(re.findall(r"(?<!\$)\$\{(\w+):-", COMPOSE_TEXT))
    assert EXAMPLE_ENV.keys() == names
    for name, value in EXAMPLE_ENV.items():
        assert f"${{{name}:-{value}}}" in COMPOSE_TEXT or value in interpolated(COMPOSE_TEXT), name


async def test_redis_is_as_durable_as_doctor_wants() -> None:
    """Doctor would find nothing to mend in the options Redis is started with."""
    words = SERVICES["redis"]["command"]
    options = {name.removeprefix("--"): value for name, value in zip(words[2::2], words[3::2], strict=True)}

    class Answering:
        async def command(self, *asked: str) -> list[bytes]:
            return [asked[-1].encode(), options[asked[-1]].encode()]

    assert await check_durability(cast("RedisLink", Answering())) == []
    assert "redis:/data" in SERVICES["redis"]["volumes"]


def test_keycloak_is_the_one_the_tests_run() -> None:
    """The image has the version that all contract tests were run against, and PostgreSQL behind it."""
    assert interpolated(SERVICES["keycloak"]["image"]) == f"keycloak/keycloak:{VERSION}"
    assert environment("keycloak")["KC_DB_URL"] == "jdbc:postgresql://postgres:5432/keycloak"
    assert environment("keycloak")["KC_DB_USERNAME"] == environment("postgres")["POSTGRES_USER"]


def test_images_are_pinned() -> None:
    """Every image has a version, and none but ours is built here; ours is never looked for elsewhere."""
    for name, described in SERVICES.items():
        image = interpolated(described["image"])
        ours = image.startswith("keystile:")
        assert ours or re.search(r":\d+\.\d+", image), name
        assert described.get("pull_policy") == (("build" if name == "secrets" else "never") if ours else None)
    assert [name for name, described in SERVICES.items() if "build" in described] == ["secrets"]


def test_waiting_for_the_last_is_waiting_for_all() -> None:
    """`up --wait` is enough: one-shots end before who needs them starts, servers are healthy before they are used."""
    waited = {"mcp"}
    for described in SERVICES.values():
        for name, needed in described.get("depends_on", {}).items():
            waited.add(name)
            ends = name in ONE_SHOTS
            assert needed["condition"] == ("service_completed_successfully" if ends else "service_healthy")
    assert waited == SERVICES.keys()
    for name, described in SERVICES.items():
        assert ("restart" in described) is (name not in ONE_SHOTS)
        assert ("test" in described["healthcheck"]) is (name not in ONE_SHOTS)


def test_nothing_is_published_beyond_this_machine() -> None:
    """Only Keystile, Keycloak and the MCP server have a port outside, on the loopback address."""
    ports = {name: described["ports"] for name, described in SERVICES.items() if "ports" in described}
    assert ports.keys() == {"keystile", "keycloak", "mcp"}
    for published in ports.values():
        assert all(port.startswith("127.0.0.1:") for port in published)
    assert interpolated(ports["keystile"][0]).endswith(f":{Settings.model_fields['port'].default}")


async def test_the_mcp_server_takes_jwts_of_this_keystile() -> None:
    """It is the example, told the issuer that Keystile has, its own published address, and where Keystile listens."""
    described = SERVICES["mcp"]
    assert described["entrypoint"] == ["python", "-Im", "keystile.mcp.example"]
    app = typer.Typer()
    app.command()(example)
    words = [interpolated(word) for word in described["command"]]
    told = typer.main.get_command(app).make_context("mcp", words).params
    assert told["issuer"] == environment("keystile")["KEYSTILE_ISSUER"]
    assert urlsplit(told["keystile_url"]).hostname == told["plain_http"][0] == "keystile"
    assert urlsplit(told["keystile_url"]).port == Settings.model_fields["port"].default
    (published,) = [interpolated(port) for port in described["ports"]]
    assert published == f"127.0.0.1:{urlsplit(told['resource']).port}:{told['port']}"
    verifier = KeystileTokenVerifier(
        told["issuer"], told["resource"], keystile_url=told["keystile_url"], plain_http=told["plain_http"]
    )
    (route,) = re.findall(r'"(/[^"]+)"', described["healthcheck"]["test"][-1])
    server = example_server(verifier).streamable_http_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://127.0.0.1:8401") as client:
        assert (await client.get(route)).json()["resource"] == told["resource"]
    assert not secret_paths("mcp")


async def test_health_checks_ask_a_route_that_answers(tmp_path: Path) -> None:
    """The route of both health checks exists and answers 200."""
    checks = [json.dumps(SERVICES["keystile"]["healthcheck"]["test"]), *instructions("HEALTHCHECK")]
    async with open_deployment(load_settings(data_dir=tmp_path)) as deployment:
        workers = Workers(lambda: read(deployment), worker_files(deployment.settings))
        client = create_app(deployment, make_doors(deployment), workers).test_client()
        for check in checks:
            (route,) = re.findall(r"['\"](/[a-z]+)\\?['\"]", check)
            assert (await client.get(route)).status_code == 200


def test_commands_exist() -> None:
    """Every command that the files run or tell people to run is one of ours, with these options."""
    (start,) = instructions("CMD")
    named = [command.split() for command in re.findall(r"exec (?:keystile )?keystile (.+)", COMPOSE_TEXT)]
    commands = [*named, json.loads(start), SERVICES["keystile"]["command"]]
    assert len(commands) == 6
    for words in commands:
        assert understood(words), words


def test_image_is_made_of_what_is_there() -> None:
    """What the image copies exists, and is what the ignore file lets through."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]}
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_image_starts_keystile_as_nobody_special() -> None:
    """The image runs our command as the user that the compose file names too, and its data folder is a volume."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(instructions("ENTRYPOINT")[-1]) == list(project["scripts"])
    assert instructions("USER") == [SERVICES["keystile"]["user"]]
    variables = image_environment()
    assert json.loads(instructions("VOLUME")[0]) == [variables["KEYSTILE_DATA_DIR"]]
    assert variables["KEYSTILE_HOST"] == "0.0.0.0"  # noqa: S104 - in a container
    assert instructions("EXPOSE") == [str(Settings.model_fields["port"].default)]


def test_image_is_installed_from_the_lock_without_build_tools() -> None:
    """Only locked wheels are installed, and what only the build backend needs is taken out again."""
    build = "\n".join(instructions("RUN"))
    assert "--require-hashes --only-binary=:all: --requirement service/requirements.lock" in build
    assert "--require-hashes --only-binary=:all: --requirement service/requirements-mcp.lock" in build
    assert "--no-deps --no-build-isolation ." in build
    (taken_out,) = re.findall(r"pip uninstall --yes (.+)", build)
    assert set(taken_out.split()) - {"pip"} == everything_under("hatchling", "editables") - everything_under(
        "keystile", "mcp"
    )
    stages = instructions("FROM")
    assert len({stage.split()[0] for stage in stages}) == 1
    assert fnmatch(stages[-1], "python:3.1?-slim")


def test_serving_needs_nothing_of_the_extra() -> None:
    """The lock for serving holds no MCP SDK; that of the extra holds it, and otherwise the very same versions."""
    serving, extra = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"service/{name}").read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-mcp.lock")
    )
    assert ("mcp" in serving, "mcp" in extra) == (False, True)
    assert {name: extra[name] for name in serving.keys() & extra.keys()} == {
        name: serving[name] for name in serving.keys() & extra.keys()
    }


def everything_under(*names: str) -> set[str]:
    """Return these installed packages and all that they need here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        needed = [Requirement(text) for text in requires(name) or ()]
        waiting += [one.name.lower() for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found
