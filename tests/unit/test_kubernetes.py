"""service/kubernetes against the schemas of Kubernetes, and against the code it runs, with no cluster at hand."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from keystile.http import server
from keystile.http.app import create_app
from keystile.http.front import make_doors
from keystile.http.metrics.reading import read
from keystile.http.metrics.workers import Workers
from keystile.peppers import new_pepper
from keystile.settings import Settings, Store, load_settings, unknown_settings
from keystile.wiring import open_deployment, worker_files
from unit.shipped import ROOT, SECRET_NAME, image_environment, instructions, set_environment, understood

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "service/kubernetes"
BASE = FOLDER / "base"
PAGE = (FOLDER / "README.md").read_text()
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
(GENERATED,) = KUSTOMIZATION["configMapGenerator"]
SETTINGS = dict(
    line.split("=", 1) for line in (BASE / "settings.env").read_text().splitlines() if line and not line.startswith("#")
)
OBJECTS: dict[str, Any] = {
    each["kind"]: each for name in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((BASE / name).read_text())
}
SET, JOB = OBJECTS["StatefulSet"], OBJECTS["Job"]
PODS = {"servers": SET["spec"]["template"]["spec"], "setup": JOB["spec"]["template"]["spec"]}
SECRETS = {"peppers": new_pepper(), "redis-url": "rediss+sentinel://:pw@sentinel-0.redis:26379/keystile"}

every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


def mounts(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["mountPath"] for each in container(pod)["volumeMounts"]}


def labels(described: dict[str, Any]) -> dict[str, str]:
    return dict(described["spec"]["template"]["metadata"]["labels"])


def selects(selector: dict[str, str], described: dict[str, Any]) -> bool:
    return selector.items() <= labels(described).items()


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def made_by_page() -> dict[str, set[str]]:
    """Return the files of every Secret and ConfigMap that the page tells to make."""
    joined = PAGE.replace("\\\n", "")
    made = re.findall(r"kubectl create (?:secret generic|configmap) (\S+)(.*)", joined)
    return {name: set(re.findall(r"--from-(?:literal|file)=([\w.-]+)", rest)) for name, rest in made}


@pytest.mark.parametrize("version", ["1.27", "1.37"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_are_what_kubernetes_takes(kind: str, version: str) -> None:
    """Each object fits its schema, with no field that is none, in the newest Kubernetes and in one of years ago."""
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_kustomization_lists_every_file() -> None:
    """What is in the folder is in the base, and the other way round."""
    listed = {"kustomization.yaml", *KUSTOMIZATION["resources"], *GENERATED["envs"]}
    assert {path.name for path in BASE.iterdir()} == listed
    assert len(OBJECTS) == len(KUSTOMIZATION["resources"])


def test_settings_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers start with what the base sets: all is known to them, nothing is missing, secrets are read."""
    for name in made_by_page()["keystile"]:
        (tmp_path / name).write_text(SECRETS.get(name, "s3cret"))
    found = {name: value.replace(mounts(PODS["servers"])["secrets"], str(tmp_path)) for name, value in SETTINGS.items()}
    set_environment(monkeypatch, image_environment() | found)
    settings = load_settings()
    assert unknown_settings() == []
    assert settings.store is Store.KEYCLOAK
    clients = (settings.keycloak_reader_secret, settings.keycloak_writer_secret, settings.keycloak_tokens_secret)
    assert all(clients)


@every_pod
def test_files_that_are_named_are_mounted(pod: dict[str, Any]) -> None:
    """Every file that a setting or the Job's command names is in a Secret or ConfigMap that the page tells to make."""
    made, places = made_by_page(), mounts(pod)
    there = {
        f"{places[volume['name']]}/{name}"
        for volume in pod["volumes"]
        for source in (volume.get("secret", {}).get("secretName"), volume.get("configMap", {}).get("name"))
        for name in made.get(source, ())
    }
    named = set(re.findall(r"/etc/keystile/[\w./-]+", " ".join([*SETTINGS.values(), *container(pod)["args"]])))
    assert named - {SETTINGS["KEYSTILE_SIGNING_KEYS_DIR"]} <= there
    assert f"{SETTINGS['KEYSTILE_SIGNING_KEYS_DIR']}/rs256.pem" in there


def test_no_secret_stands_in_the_files() -> None:
    """Whatever is named like a secret is read from a file, and no object is a Secret."""
    for name, value in SETTINGS.items():
        assert not SECRET_NAME.search(name) or (name.endswith("_FILE") and value.startswith("/etc/keystile/"))
    assert "Secret" not in OBJECTS
    for pod in PODS.values():
        assert "env" not in container(pod)
        assert container(pod)["envFrom"] == [{"configMapRef": {"name": GENERATED["name"]}}]


@every_pod
def test_pods_hold_no_rights_they_do_not_need(pod: dict[str, Any]) -> None:
    """Nobody special, no capability, no token, nothing to write to but what is told; secrets are read-only."""
    user = pod["securityContext"]
    assert [f"{user['runAsUser']}:{user['runAsGroup']}"] == instructions("USER")
    assert user["runAsNonRoot"] is True
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container(pod)["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    assert pod["automountServiceAccountToken"] is OBJECTS["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == OBJECTS["ServiceAccount"]["metadata"]["name"]
    for mount in container(pod)["volumeMounts"]:
        assert mount.get("readOnly") is (None if mount["name"] in ("data", "scratch") else True)
    modes = [each["secret"]["defaultMode"] for each in pod["volumes"] if "secret" in each]
    assert set(modes) == {0o440}


@every_pod
def test_the_service_sets_no_setting(pod: dict[str, Any]) -> None:
    """Kubernetes tells pods of a Service in `{NAME}_PORT`, which for ours is a setting: that is switched off."""
    assert f"{OBJECTS['Service']['metadata']['name'].upper()}_PORT" == "KEYSTILE_PORT"
    assert pod["enableServiceLinks"] is False


def test_what_is_written_outlives_the_pod() -> None:
    """The data folder is a folder of the server's own in a volume that each pod keeps."""
    (claim,) = SET["spec"]["volumeClaimTemplates"]
    place = mounts(PODS["servers"])[claim["metadata"]["name"]]
    assert SETTINGS["KEYSTILE_DATA_DIR"].startswith(f"{place}/")
    assert place == image_environment()["KEYSTILE_DATA_DIR"]
    assert set(SET["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert PODS["servers"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


async def test_probes_ask_routes_that_answer(tmp_path: Path) -> None:
    """Each probe's route exists and answers 200; who lives is asked of the process alone, who is ready of the rest."""
    ours = container(PODS["servers"])
    probes = {name: ours[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]
    async with open_deployment(load_settings(data_dir=tmp_path)) as deployment:
        workers = Workers(lambda: read(deployment), worker_files(deployment.settings))
        client = create_app(deployment, make_doors(deployment), workers).test_client()
        for probe in probes.values():
            assert (await client.get(probe["path"])).status_code == 200
            assert probe["port"] in {port["name"] for port in ours["ports"]}


def test_ports_are_the_servers() -> None:
    """Pod, Service and policy name the port that the image listens on."""
    (port,) = container(PODS["servers"])["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default == int(instructions("EXPOSE")[0])
    assert "KEYSTILE_PORT" not in SETTINGS
    (published,) = OBJECTS["Service"]["spec"]["ports"]
    assert published["targetPort"] == port["name"]
    (rule,) = OBJECTS["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [port["name"]]


def test_a_server_has_the_time_to_end() -> None:
    """It is killed only after the drain and its last words, and the drain is longer than a probe takes to notice."""
    drain, readiness = seconds(SETTINGS["KEYSTILE_DRAIN"]), container(PODS["servers"])["readinessProbe"]
    assert PODS["servers"]["terminationGracePeriodSeconds"] >= drain + server._LAST_WORDS + 5  # noqa: SLF001
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
    assert "preStop" not in str(PODS["servers"])


def test_selectors_find_the_servers_and_nobody_else() -> None:
    """Service, budget and set mean the servers and not the Job; the network's rules are for both."""
    servers = [
        OBJECTS["Service"]["spec"]["selector"],
        OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        SET["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in PODS["servers"]["topologySpreadConstraints"]),
    ]
    for selector in servers:
        assert (selects(selector, SET), selects(selector, JOB)) == (True, False)
    both = OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert (selects(both, SET), selects(both, JOB)) == (True, True)
    assert OBJECTS["PodDisruptionBudget"]["spec"]["maxUnavailable"] < SET["spec"]["replicas"]


def test_the_network_is_open_to_what_the_settings_name() -> None:
    """Out: names, Keycloak's port, Redis and its Sentinels, each to a named place; in: from named places alone."""
    policy = OBJECTS["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    rules = [*policy["egress"], *policy["ingress"]]
    peers = chain(*(rule.get("to") or rule["from"] for rule in rules))
    assert all(peer["namespaceSelector"]["matchLabels"] for peer in peers)
    ports = {each["port"] for rule in policy["egress"] for each in rule["ports"]}
    keycloak, redis = (
        int(re.findall(r":(\d+)", url)[-1]) for url in (SETTINGS["KEYSTILE_KEYCLOAK_URL"], SECRETS["redis-url"])
    )
    assert ports == {53, 6379, keycloak, redis}


def test_commands_exist() -> None:
    """What the pods run is one of our commands, in an image of this version."""
    ((told,),) = [re.findall(r"exec keystile (.+)", each) for each in container(PODS["setup"])["args"]]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for pod, words in ((PODS["setup"], told.split()), (PODS["servers"], container(PODS["servers"])["args"])):
        assert understood(words)
        assert container(pod)["image"] == f"keystile:{version}"


def test_the_page_names_rows_that_are_measured() -> None:
    """Sizing tells no number of its own: it names rows of the README's table."""
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\|[^|]+\| (`/sts/[^|]+) \|", PAGE, re.MULTILINE) + re.findall(r"row\s+\*([^*]+)\*", PAGE)
    assert len(rows) == 8
    for row in rows:
        assert re.search(rf"^\| {re.escape(' '.join(row.split()))}", readme, re.MULTILINE), row
    assert "(service/kubernetes/README.md)" in readme
