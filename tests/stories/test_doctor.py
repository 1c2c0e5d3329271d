"""`keystile doctor` against a live deployment that is broken on purpose, one way after the other."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from keystile.cli.doctor import diagnose
from stack import RedisServer
from stack.clock import SteppedClock
from stories.broken import Patient
from stories.conftest import make_environment
from stories.doctor_cases import CASES, Case
from stories.gateway import Gateway
from stories.keycloak_world import KeycloakWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystile.findings import Finding
    from stack import KeycloakServer


@pytest.fixture(scope="module")
def patient(keycloak_server: KeycloakServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """Serve a deployment behind a gateway, with a key that needs its pepper."""
    folder = tmp_path_factory.mktemp("doctor")
    environment = make_environment(folder)
    with (
        RedisServer(tmp_path_factory.mktemp("doctor-redis")) as redis,
        Gateway(int(environment["KEYSTILE_PORT"])) as gateway,
        Gateway(keycloak_server.port) as keycloak_gateway,
    ):
        environment["KEYSTILE_ISSUER"] = f"{gateway.url}/sts"
        world = KeycloakWorld.prepare(keycloak_server, redis, folder, environment)
        with world.server:
            world.issue(world.add_user())
            yield Patient(world, gateway, keycloak_gateway)


@pytest.fixture(scope="module")
def office() -> Iterator[ProcessPoolExecutor]:
    """Start the process in which doctor looks at one case after the other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield process


def examine(environment: dict[str, str]) -> list[Finding]:
    """Return what doctor finds with these settings and no others."""
    for name in [name for name in os.environ if name.startswith("KEYSTILE_")]:
        del os.environ[name]
    os.environ.update(environment)
    return diagnose()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_broken_is_found_with_its_fix(patient: Patient, office: ProcessPoolExecutor, case: Case) -> None:
    """Doctor names what was broken and what mends it, and finds nothing else wrong: all breaks before are mended."""
    with case.broken(patient) as changed:
        found = office.submit(examine, patient.world.environment | dict(changed)).result()
    wrong = {finding.what: finding.fix for finding in found if not finding.ok}
    expected = {what: fix.replace("{realm}", patient.realm) for what, fix in case.found.items()}
    assert len(wrong) == len(expected), wrong
    for what, fix in wrong.items():
        assert any(_reads(what, pattern) and _reads(fix, wanted) for pattern, wanted in expected.items()), (what, fix)


def _reads(text: str, pattern: str) -> bool:
    return text == pattern or re.fullmatch(pattern, text) is not None


def test_the_whole_deployment_has_nothing_wrong(patient: Patient) -> None:
    """With everything mended the command succeeds, and says what it looked at."""
    done = patient.world.cli("doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert all(line.startswith("ok   ") for line in lines)
    assert any("has the issuer that is set" in line for line in lines)


def test_clocks_that_disagree_are_found(patient: Patient, tmp_path: Path) -> None:
    """A clock ten minutes off is told, with its fix; the command fails, and prints what `--help` says it does."""
    clock = SteppedClock(tmp_path)
    clock.step(600)
    done = patient.world.cli("doctor", "--json", **clock.environment)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document.keys() == {"findings"}
    assert all(found.keys() == {"ok", "what", "fix"} for found in document["findings"])
    (wrong,) = [found for found in document["findings"] if not found["ok"]]
    assert re.fullmatch(r"Keycloak's clock is (59\d|60\d) s behind this machine's", wrong["what"])
    assert wrong["fix"] == "let a time service, like chrony, set the clocks of both machines"
    assert '{"findings": [{"ok": true, "what": "…", "fix": ""}' in patient.world.cli("doctor", "--help").stdout
