"""The gateways' programs, each run with its configuration of `service/gateways` and nothing changed but the ports."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from stack.errors import StackError
from stack.packages import command_path
from stack.ports import free_port
from stack.server import Server, answers

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURATIONS = Path(__file__).parents[2] / "service/gateways"
# The ports that the configurations name, so that they work as they are on one machine.
GATEWAY, KEYSTILE, SERVICE = "8080", "8400", "9000"


class Gateway(Server):
    """One gateway in front of the service on port *service*, asking the Keystile on port *keystile*.

    *convention* is what `KEYSTILE_FORWARDED_HEADERS` must be for it.
    """

    ready_within: ClassVar[float] = 60
    stop_within: ClassVar[float] = 20
    files: ClassVar[tuple[str, ...]]
    convention: ClassVar[str] = "x-forwarded"

    def __init__(self, folder: Path, *, keystile: int, service: int) -> None:
        super().__init__(None, folder / f"{self.name}.log")
        self.folder = folder
        self._ports = {GATEWAY: self.port, KEYSTILE: keystile, SERVICE: service} | self._more_ports()

    def _more_ports(self) -> dict[str, int]:
        return {}

    def _configured(self) -> list[Path]:
        """Write the configuration with the ports filled in."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in self.files:
            text = (CONFIGURATIONS / type(self).name / name).read_text(encoding="utf-8")
            path = self.folder / name
            path.write_text(re.sub(rf"\b({'|'.join(self._ports)})\b", lambda port: str(self._ports[port[0]]), text))
            written.append(path)
        return written

    def _is_ready(self) -> bool:
        return answers(self.port)

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *, keystile: int, service: int) -> Iterator[Self]:
        """Run it on ports that nobody else took meanwhile: it listens on every address, which is easily taken."""
        for last in (False, False, True):
            gateway = cls(folder, keystile=keystile, service=service)
            try:
                gateway.start()
                break
            except StackError:
                if last:
                    raise
        try:
            yield gateway
        finally:
            gateway.stop()


class Nginx(Gateway):
    """Debian's nginx."""

    name: ClassVar[str] = "nginx"
    files: ClassVar[tuple[str, ...]] = ("keystile.conf",)
    modules: ClassVar[tuple[str, ...]] = ()

    def _command(self) -> list[str]:
        nginx = command_path("nginx", "nginx")
        (site,) = self._configured()
        main = self.folder / "nginx.conf"
        main.write_text(_NGINX.format(modules=self._loaded(), folder=self.folder, site=site.name))
        return [nginx, "-p", str(self.folder), "-e", "stderr", "-c", str(main)]

    def _loaded(self) -> str:
        return ""


class Caddy(Gateway):
    """PyPI's Caddy."""

    name: ClassVar[str] = "caddy"
    files: ClassVar[tuple[str, ...]] = ("Caddyfile",)

    def _environment(self) -> dict[str, str]:
        return {"XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}

    def _command(self) -> list[str]:
        (caddyfile,) = self._configured()
        return [_installed("caddy"), "run", "--config", str(caddyfile), "--adapter", "caddyfile"]


class Traefik(Gateway):
    """PyPI's Traefik."""

    name: ClassVar[str] = "traefik"
    files: ClassVar[tuple[str, ...]] = ("traefik.yml", "routes.yml")

    def _more_ports(self) -> dict[str, int]:
        return {"8401": free_port()}

    def _command(self) -> list[str]:
        static, routes = self._configured()
        static.write_text(static.read_text().replace("/etc/traefik/routes.yml", str(routes)))
        return [_installed("traefik"), f"--configFile={static}"]


class Envoy(Gateway):
    """PyPI's Envoy."""

    name: ClassVar[str] = "envoy"
    files: ClassVar[tuple[str, ...]] = ("envoy.yaml",)
    convention: ClassVar[str] = "path"

    def _command(self) -> list[str]:
        (configuration,) = self._configured()
        return [_installed("envoy"), "-c", str(configuration), "--disable-hot-restart", *_SOON, "--concurrency", "1"]


class HAProxy(Gateway):
    """Debian's HAProxy."""

    name: ClassVar[str] = "haproxy"
    files: ClassVar[tuple[str, ...]] = ("haproxy.cfg", "keystile.lua")

    def _command(self) -> list[str]:
        haproxy = command_path("haproxy", "haproxy")
        configuration, script = self._configured()
        configuration.write_text(configuration.read_text().replace("/etc/haproxy/keystile.lua", str(script)))
        return [haproxy, "-db", "-f", str(configuration)]


_SOON = ("--file-flush-interval-msec", "100")  # its access log


def _installed(command: str) -> str:
    path = shutil.which(command, path=str(Path(sys.executable).parent))
    if not path:
        raise StackError(f"{command} is not installed in this environment: make .venv/tests")
    return path


# What Debian's own nginx.conf says around a file in conf.d, in a folder of the test's.
_NGINX = """\
{modules}user root root;
daemon off;
pid nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include {site};
}}
"""
