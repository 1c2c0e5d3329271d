"""The gateways' programs, each run with its configuration of `service/gateways` and nothing changed but the ports."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from stack.errors import StackError
from stack.packages import command_path, debian_file
from stack.ports import free_port
from stack.server import Server, answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
        return [self._fill(name, self._ports) for name in self.files]

    def _fill(self, name: str, ports: Mapping[str, int]) -> Path:
        text = (CONFIGURATIONS / type(self).name / name).read_text(encoding="utf-8")
        path = self.folder / name
        path.write_text(re.sub(rf"\b({'|'.join(ports)})\b", lambda port: str(ports[port[0]]), text))
        return path

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

    def _command(self) -> list[str]:
        nginx = command_path("nginx", "nginx")
        sites = "\n".join(f"    include {path.name};" for path in self._configured())
        loaded = "\n".join(f"load_module {debian_file(*module)};" for module in self._modules())
        main = self.folder / "nginx.conf"
        main.write_text(_NGINX.format(modules=loaded, folder=self.folder, sites=sites))
        return [nginx, "-p", str(self.folder), "-e", "stderr", "-c", str(main)]

    def _modules(self) -> tuple[tuple[str, str], ...]:
        return ()


class CachingNginx(Nginx):
    """Debian's nginx with a verdict cache between it and Keystile."""

    @property
    def cache(self) -> Path:
        """Where it keeps verdicts."""
        return self.folder / "verdicts"

    def _more_ports(self) -> dict[str, int]:
        return {"8402": free_port()}

    def _configured(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        site = self._fill("keystile.conf", self._ports | {KEYSTILE: self._ports["8402"]})
        cache = self._fill("verdict-cache.conf", self._ports)
        cache.write_text(cache.read_text().replace("/dev/shm/keystile-verdicts", str(self.cache)))  # noqa: S108 - read
        return [site, cache]

    def _modules(self) -> tuple[tuple[str, str], ...]:
        folder = "/usr/lib/nginx/modules"
        return (
            (f"{folder}/ndk_http_module.so", "libnginx-mod-http-ndk"),
            (f"{folder}/ngx_http_set_misc_module.so", "libnginx-mod-http-set-misc"),
        )


class CachingNginxAtAGate(CachingNginx):
    """The same, asking the gate `orders` of Keystile's file, as nginx's page says."""

    def _configured(self) -> list[Path]:
        site, cache = super()._configured()
        site.write_text(site.read_text().replace("/sts/gate/nginx", "/sts/gate/orders"))
        return [site, cache]


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


class BrokenHAProxy(HAProxy):
    """Debian's HAProxy with a script that fails at each request, as scripts can."""

    def _configured(self) -> list[Path]:
        configuration, script = super()._configured()
        script.write_text(script.read_text().replace("core.httpclient()", "core.no_such_function()"))
        return [configuration, script]


def _installed(command: str) -> str:
    path = shutil.which(command, path=str(Path(sys.executable).parent))
    if not path:
        raise StackError(f"{command} is not installed in this environment: make .venv/tests")
    return path


# What Debian's own nginx.conf says around a file in conf.d, in a folder of the test's.
_NGINX = """\
{modules}
user root root;
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
{sites}
}}
"""
