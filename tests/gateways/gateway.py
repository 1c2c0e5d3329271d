"""Real gateways, run by the configurations that are shipped, on ports of their own."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import ClassVar

from stack.errors import StackError
from stack.packages import command_path
from stack.ports import LOOPBACK, is_free
from stack.server import Server

SHIPPED = Path(__file__).parents[2] / "service" / "gateways"
_GATEWAY, _KEYSTILE, _UPSTREAM = 8080, 8400, 9000  # the ports that stand in the configurations


class Gateway(Server):
    """A gateway between a Keystile and what it guards, with its shipped configuration but for the ports.

    *forwarded* is what `KEYSTILE_FORWARDED_HEADERS` must be behind it. *door*: another path than the shipped one.
    """

    ready_within: ClassVar[float] = 30
    stop_within: ClassVar[float] = 10
    forwarded: ClassVar[str] = "x-forwarded"
    files: ClassVar[tuple[str, ...]]
    shipped_door: ClassVar[str] = "/sts/verify"

    def __init__(self, folder: Path, *, keystile: int, upstream: int, door: str = "") -> None:
        super().__init__(None, folder / f"{self.name}.log")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        ports = {_GATEWAY: self.port, _KEYSTILE: keystile, _UPSTREAM: upstream}
        for file in self.files:
            text = (SHIPPED / self.name / file).read_text()
            for number, port in ports.items():
                text = re.sub(rf"\b{number}\b", str(port), text)
            (folder / file).write_text(text.replace(self.shipped_door, door or self.shipped_door))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}"

    def _is_ready(self) -> bool:
        return not is_free(self.port)


class Nginx(Gateway):
    """Debian's nginx."""

    name: ClassVar[str] = "nginx"
    forwarded: ClassVar[str] = "x-original"
    files: ClassVar[tuple[str, ...]] = ("nginx.conf",)
    shipped_door: ClassVar[str] = "/sts/gate/nginx"

    def _command(self) -> list[str]:
        words = f"daemon off; pid {self.folder}/nginx.pid; error_log stderr;"
        return [
            command_path("nginx", "nginx"),
            "-p",
            str(self.folder),
            "-c",
            str(self.folder / "nginx.conf"),
            "-g",
            words,
        ]


class Caddy(Gateway):
    """Caddy, as its maker builds it."""

    name: ClassVar[str] = "caddy"
    files: ClassVar[tuple[str, ...]] = ("Caddyfile",)

    def _command(self) -> list[str]:
        return [packaged("caddy"), "run", "--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}


class Traefik(Gateway):
    """Traefik, as its maker builds it."""

    name: ClassVar[str] = "traefik"
    files: ClassVar[tuple[str, ...]] = ("traefik.yml", "keystile.yml")

    def _command(self) -> list[str]:
        static = self.folder / "traefik.yml"
        static.write_text(static.read_text().replace("filename: keystile.yml", f"filename: {self.folder}/keystile.yml"))
        return [packaged("traefik"), f"--configFile={static}"]


class Envoy(Gateway):
    """Envoy, as its maker builds it."""

    name: ClassVar[str] = "envoy"
    forwarded: ClassVar[str] = "path"
    files: ClassVar[tuple[str, ...]] = ("envoy.yaml",)

    def _command(self) -> list[str]:
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return [packaged("envoy"), "-c", str(self.folder / "envoy.yaml"), *options]


class Haproxy(Gateway):
    """Debian's HAProxy."""

    name: ClassVar[str] = "haproxy"
    files: ClassVar[tuple[str, ...]] = ("haproxy.cfg", "keystile.lua")

    def _command(self) -> list[str]:
        # Its log level would be that of a terminal: nothing is said of requests.
        return [command_path("haproxy", "haproxy"), "-C", str(self.folder), "-f", "haproxy.cfg", "-db"]


GATEWAYS: tuple[type[Gateway], ...] = (Nginx, Caddy, Traefik, Envoy, Haproxy)


def packaged(command: str) -> str:
    """Return the path of a gateway that was installed beside this Python."""
    path = shutil.which(command, path=str(Path(sys.executable).parent))
    if path is None:
        raise StackError(f"{command} is not installed in this environment: make .venv/tests")
    return path
