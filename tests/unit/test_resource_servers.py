from __future__ import annotations

import pytest

from keystile.errors import ConfigurationError
from keystile.resource_servers import parse_resource_servers
from unit.environments import KEYCLOAK, Load, fault

MCP, API = "https://mcp.example.com/mcp", "https://api.example.com?x=1"


def test_client_is_named_with_what_it_is(load: Load) -> None:
    """`client=audience audience`, more clients with commas between them; a `=` in an audience is its own."""
    assert load(**KEYCLOAK).introspecting == {}
    said = load(**KEYCLOAK, RESOURCE_SERVERS=f"gateway={MCP} {API}, https://shop.example.com={MCP}")
    assert said.introspecting == {"gateway": (MCP, API), "https://shop.example.com": (MCP,)}


@pytest.mark.parametrize("entry", ["gateway", "gateway=", "gateway= ", f"={MCP}", "gateway=x", f"gateway={MCP}#x", "="])
def test_half_an_entry_is_a_fault(entry: str) -> None:
    """A client without an audience would see nothing, or, read in another way, everything."""
    with pytest.raises(ConfigurationError):
        parse_resource_servers([entry])


def test_client_stands_there_once() -> None:
    """Twice would leave open which of the two counts."""
    with pytest.raises(ConfigurationError, match="twice"):
        parse_resource_servers([f"a={MCP}", f"a={API}"])


def test_faults_are_told_with_the_setting(load: Load) -> None:
    """On a store without a realm there are no clients; and the management API is nobody's but Keystile's."""
    assert "KEYSTILE_RESOURCE_SERVERS: clients need KEYSTILE_STORE=keycloak" in fault(
        load, RESOURCE_SERVERS=f"gateway={MCP}"
    )
    own = {"ISSUER": "https://id.example.com/sts", "RESOURCE_SERVERS": "gateway=https://id.example.com/sts/api/v1"}
    assert "KEYSTILE_RESOURCE_SERVERS" in fault(load, **KEYCLOAK, **own)
