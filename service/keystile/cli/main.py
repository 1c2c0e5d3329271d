"""The `keystile` command.

A command imports the heavy parts it runs itself: `keys list` need not wait for a web server to load.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from keystile.claims import parse_resource, parse_scope
from keystile.cli import keys, signing_keys
from keystile.cli.keypair import app as keypair
from keystile.cli.keys.arguments import AsJson  # noqa: TC001 - typer reads it
from keystile.cli.login import login
from keystile.cli.output import print_json, print_line
from keystile.cli.running import settings_for_command, with_deployment
from keystile.cli.tokens import headers, presented_key, token
from keystile.client.errors import KeystileClientError, UnavailableError
from keystile.errors import CannotTellError, ConfigurationError, KeyRefusedError, KeystileError
from keystile.peppers import new_pepper
from keystile.policy import RequestContext

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.exchange import Minted

app = typer.Typer(
    help="API keys in, JWTs out, beside the Keycloak you already run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: keystile keys issue --owner alice --name laptop",
    add_completion=False,
)
keycloak = typer.Typer(help="Prepare a Keycloak realm.", no_args_is_help=True, rich_markup_mode=None)
peppers = typer.Typer(help="Server-side HMAC secrets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys.app, name="keys")
app.add_typer(signing_keys.app, name="signing-keys")
app.add_typer(keypair, name="keypair")
app.command(epilog="Example: keystile login --private-key laptop.pem --url https://id.example.com/sts")(login)
app.command(epilog="Example: keystile token --resource https://mcp.example.com/mcp --scope tools:call < key.txt")(token)
app.command(epilog="Example: keystile headers --resource https://mcp.example.com/mcp --key-file key.txt")(headers)
app.add_typer(keycloak, name="keycloak")
app.add_typer(peppers, name="peppers")


@app.command(epilog="Example: KEYSTILE_PORT=8401 keystile serve")
def serve() -> None:
    """Serve until told to stop."""
    from keystile.http.server import serve as serve_http

    serve_http(settings_for_command())


@app.command(epilog="Example: keystile demo")
def demo() -> None:
    """Serve the embedded store, with a demo key and the line that uses it."""
    from keystile.cli.demo import demo_and_serve

    demo_and_serve(settings_for_command())


@app.command(epilog="Example: keystile exchange --resource https://mcp.example.com/mcp < key.txt")
def exchange(
    resource: Annotated[str | None, typer.Option(help="The audience of the JWT.")] = None,
    scope: Annotated[str | None, typer.Option(help="Scopes, separated by spaces.")] = None,
    json: AsJson = False,
) -> None:
    """Exchange the API key on standard input (or in KEYSTILE_API_KEY) for a JWT and print it."""
    presented = presented_key()

    async def work(deployment: Deployment) -> Minted:
        context = RequestContext(
            rules=deployment.rules,
            door="cli",
            audience=parse_resource(resource) if resource else None,
            scopes=parse_scope(scope or ""),
        )
        verdict = await deployment.verifier.verify(presented, context)
        return await deployment.exchange.mint(verdict, context)

    minted = with_deployment(work)
    if json:
        print_json(minted.to_document())
    else:
        print_line(minted.token)


@keycloak.callback()
def prepare() -> None:
    """Prepare a Keycloak realm."""


@keycloak.command(
    epilog="Example: KEYCLOAK_ADMIN_USER=admin KEYCLOAK_ADMIN_PASSWORD=… keystile keycloak setup. "
    "The administrator is read from KEYCLOAK_ADMIN_URL (default KEYSTILE_KEYCLOAK_URL), KEYCLOAK_ADMIN_USER "
    "and KEYCLOAK_ADMIN_PASSWORD."
)
def setup(
    create_realm: Annotated[bool, typer.Option("--create-realm", help="Create the realm if it is not there.")] = False,
    json: AsJson = False,
) -> None:
    """Declare attributes, make clients, roles, events and the canary; a second run changes nothing."""
    from keystile.cli.keycloak import set_up_realm

    changes = set_up_realm(settings_for_command(), create_realm=create_realm)
    if json:
        print_json({"changes": changes})
        return
    for line in changes or ["nothing to change"]:
        print_line(line)


@peppers.command("new", epilog="Example: keystile peppers new p2")
def new(pepper_id: Annotated[str, typer.Argument(help="Its id, of [a-z0-9-]{1,16}.")] = "") -> None:
    """Print a fresh pepper: put it first in KEYSTILE_PEPPERS."""
    print_line(new_pepper(pepper_id))


@peppers.command("list", epilog="Example: keystile peppers list --json")
def list_peppers(json: AsJson = False) -> None:
    """Count the live keys that need each pepper, and say which can be removed."""
    import asyncio

    from keystile.cli.peppers import show

    asyncio.run(show(settings_for_command(), as_json=json))


@app.command(epilog="Example: keystile doctor --reconcile --json")
def doctor(
    reconcile: Annotated[
        bool,
        typer.Option("--reconcile", help="Put right what a restored backup of Keycloak undid: deaths and suspensions."),
    ] = False,
    count: Annotated[bool, typer.Option(help="Look at every owner, to tell what their keys need.")] = True,
    json: AsJson = False,
) -> None:
    """Say what is wrong with this deployment, and how to mend it.

    Every setting, Keycloak, Redis, the files, what the keys need, and the running servers by their public URL. Exits
    with 1 if anything is wrong.

    With --json it prints {"findings": [{"ok": true, "what": "…", "fix": ""}, …]}: what was looked at, whether it is
    as it must be, and if not, the one command or setting that mends it.
    """
    from keystile.cli.doctor import diagnose

    findings = diagnose(reconcile=reconcile, count=count, quiet=json)
    if json:
        print_json({"findings": [{"ok": found.ok, "what": found.what, "fix": found.fix} for found in findings]})
    else:
        for found in findings:
            print_line(
                f"{'ok  ' if found.ok else 'FAIL'} {found.what}" + ("" if found.ok else f"\n     fix: {found.fix}")
            )
    if not all(found.ok for found in findings):
        raise typer.Exit(1)


def run() -> None:
    """Run a command; what goes wrong is one line on standard error and exit code 1."""
    try:
        app()
    except (CannotTellError, UnavailableError) as error:
        _fail(f"{error}; try again")
    except ConfigurationError as error:
        _fail(str(error).replace("; ", "\n  "))
    except KeyRefusedError as error:
        _fail(f"the key is refused: {error.reason.value.replace('_', ' ')}")
    except (KeystileError, KeystileClientError) as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.exit(1)


def _fail(message: str) -> None:
    sys.stderr.write(f"keystile: {message}\n")
    sys.exit(1)


if __name__ == "__main__":
    run()
