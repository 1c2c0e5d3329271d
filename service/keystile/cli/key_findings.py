"""What `keystile doctor` says of the keys there are: what they need of the settings, and ids that two owners hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.assembly import now
from keystile.authority.key_survey import KeySurvey
from keystile.authority.pepper_use import PepperUse
from keystile.cli.owners import every_owner
from keystile.cli.peppers import findings as pepper_findings
from keystile.errors import KeystileError
from keystile.findings import Finding
from keystile.wiring import load_peppers

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.settings import Settings

_NAMED = 5  # key ids in one line


async def findings(deployment: Deployment, *, quiet: bool) -> list[Finding]:
    """Look at every owner once, and tell what their keys need."""
    settings, use, survey = deployment.settings, PepperUse(), KeySurvey()
    try:
        async for owner in every_owner(deployment, quiet=quiet):
            use += PepperUse.of(owner, now())
            survey.see(owner, now(), hashes_count=settings.older_secret is not None)
    except KeystileError as error:
        fix = "see that the store answers, and run it again"
        return [Finding(ok=False, what=f"nobody can tell what the keys need: {error}", fix=fix)]
    return [*pepper_findings(use, load_peppers(settings), settings.stamps), *survey_findings(survey, settings)]


def survey_findings(survey: KeySurvey, settings: Settings) -> list[Finding]:
    """Return what those keys and these settings do not have of each other."""
    return [_proxies(survey, settings), *_doubles(survey), *_older(survey, settings)]


def _proxies(survey: KeySurvey, settings: Settings) -> Finding:
    if not survey.judging or settings.trusted_proxies:
        return Finding(ok=True, what=f"{survey.judging} live keys judge requests by what trusted proxies say of them")
    what = f"{survey.judging} live keys are bound to addresses, origins, TLS or endpoints, and no proxy is trusted"
    fix = "set KEYSTILE_TRUSTED_PROXIES to the addresses of your gateway, like 10.0.0.7/32: until then they are refused"
    return Finding(ok=False, what=what, fix=fix)


def _doubles(survey: KeySurvey) -> list[Finding]:
    doubles = survey.doubles()
    if not doubles:
        return [Finding(ok=True, what="no key id is at two owners")]
    found = []
    for key_id, names in list(doubles.items())[:_NAMED]:
        what = f"the key id {key_id} is at {' and '.join(names)}, and is refused for both"
        fix = f"take it out of apiKeys and apiKeyLookup of who was not issued it, or 'keystile keys revoke {key_id}'"
        found.append(Finding(ok=False, what=what, fix=fix))
    if len(doubles) > _NAMED:
        what = f"{len(doubles) - _NAMED} more key ids are at two owners"
        found.append(Finding(ok=False, what=what, fix="mend those that are named, and run it again"))
    return found


def _older(survey: KeySurvey, settings: Settings) -> list[Finding]:
    if not survey.older:
        return [Finding(ok=True, what="no key of the older form is left")]
    what = f"{survey.older} keys of the older form are left"
    if not settings.older_keys:
        fix = "set KEYSTILE_OLDER_KEYS=true, or end each with 'keystile keys revoke KEY_ID'"
        return [Finding(ok=False, what=f"{what}, and are not served", fix=fix)]
    fix = "give each a successor with 'keystile keys rotate KEY_ID', then unset KEYSTILE_OLDER_KEYS"
    found = [Finding(ok=False, what=f"{what}: they have no stamp, so forged ones cost look-ups", fix=fix)]
    if survey.by_bcrypt > settings.older_bcrypt_records:
        what = (
            f"{survey.by_bcrypt} older keys need bcrypt to be found, and only {settings.older_bcrypt_records} are tried"
        )
        fix = "set KEYSTILE_OLDER_HMAC_SECRET to the secret of their cacheHash, or raise KEYSTILE_OLDER_BCRYPT_RECORDS"
        found.append(Finding(ok=False, what=what, fix=fix))
    return found
