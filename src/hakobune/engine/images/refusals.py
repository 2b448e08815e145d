"""Why a registry did not give or take an image, in Docker's words. Pure.

Managers name the class of a failure; the real containerd leaves some of them unnamed, so the text is read, too.
"""

from __future__ import annotations

from hakobune.errors import (
    DeadlineExceeded,
    HakoError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from hakobune.spec.reference import Reference

_DENIED = (
    "authorization failed",
    "pull access denied",
    "401 Unauthorized",
    "403 Forbidden",
    "no basic auth credentials",
)
_FULL = "no space left on device"  # clients look for the kernel's words
_NO_PLATFORM = "no match for platform"
_UNKNOWN_SERVICE = "unknown service containerd.services."  # streams or transfers: both came with 2.0


def of_pull(err: HakoError, name: Reference, platform: str) -> HakoError:
    """The failure of a pull of `name`."""
    text = err.message
    if _UNKNOWN_SERVICE in text:
        return Unimplemented(
            "the containerd below has no transfer service: registries need containerd 2.0 or later"
        )
    if _NO_PLATFORM in text:
        return NotFound(f"no matching manifest for {platform} in the manifest list entries")
    if _denied(err):
        return NotFound(
            f"pull access denied for {name.familiar_name}, repository does not exist or may require "
            f"'docker login': {_said(text)}"
        )
    if isinstance(err, NotFound):
        if "name unknown" in text:
            return NotFound(f"repository {name.familiar_name} not found: {_from(text, 'name unknown')}")
        return NotFound(f"manifest for {name.familiar} not found: {_from(text, 'manifest unknown')}")
    return _other(err)


def of_push(err: HakoError) -> HakoError:
    """The failure of a push."""
    if _UNKNOWN_SERVICE in err.message:
        return Unimplemented(
            "the containerd below has no transfer service: registries need containerd 2.0 or later"
        )
    if _denied(err):
        said = _said(err.message)
        known = said.startswith(("denied: ", "unauthorized: "))
        return PermissionDenied(
            said if known else f"denied: requested access to the resource is denied: {said}"
        )
    return _other(err)


def of_question(err: HakoError, what: str) -> HakoError:
    """The failure of a login, search or look at a manifest."""
    if isinstance(err, Unauthenticated | PermissionDenied):
        return Unauthenticated(f"{what}: unauthorized: {_said(err.message)}")
    return _other(err)


def _denied(err: HakoError) -> bool:
    return isinstance(err, Unauthenticated | PermissionDenied) or any(
        words in err.message for words in _DENIED
    )


def _said(text: str) -> str:
    """The registry's own words, which stand last."""
    return text.rpartition("server message: ")[2].removesuffix(": not found")


def _from(text: str, words: str) -> str:
    """From the registry's words on, which Docker shows; the words themselves when it has not said them."""
    _, found, rest = text.partition(words)
    return f"{words}{rest.removesuffix(': not found')}" if found else f"{words}: {_said(text)}"


def _other(err: HakoError) -> HakoError:
    """As it is; a registry that cannot be reached is no fault of this engine's being away (503)."""
    if isinstance(err, Unavailable | DeadlineExceeded):
        return HakoError(err.message)
    if isinstance(err, ResourceExhausted) and "no space left" in err.message.lower():
        return ResourceExhausted(f"{err.message.partition(':')[0]}: {_FULL}")
    return err
