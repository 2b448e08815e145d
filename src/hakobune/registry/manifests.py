"""What is believed of a manifest: digest, size, type and shape, checked before anybody reads it. Pure.

A document that can be read in two ways is refused (CVE-2021-41190): `manifests` beside `layers`, or a `mediaType` other
than the type that it came under.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hakobune.errors import DataLoss, InvalidArgument
from hakobune.registry.repository import (
    DOCKER_MANIFEST,
    INDEX,
    LARGEST_MANIFEST,
    MANIFEST,
    MANIFEST_TYPES,
    SCHEMA_1,
)
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor


def digest_of(body: bytes) -> str:
    """As it is named."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def check_name(digest: str) -> str:
    """A digest that may become part of a URL or path. Raises InvalidArgument."""
    if not reference.is_digest(digest):
        raise InvalidArgument(f"registry: {digest!r:.100} is not sha256: and 64 hexadecimal digits")
    return digest


def check_size(descriptor: Descriptor) -> None:
    """Raises InvalidArgument for a manifest that is too large to be one."""
    if descriptor.size > LARGEST_MANIFEST:
        raise InvalidArgument(
            f"manifest {descriptor.digest} has {descriptor.size} bytes, more than {LARGEST_MANIFEST}"
        )


def checked(descriptor: Descriptor, body: bytes) -> bytes:
    """The body of a manifest, when it is what the descriptor says. Raises DataLoss, InvalidArgument."""
    if len(body) != descriptor.size:
        raise DataLoss(f"manifest {descriptor.digest} has {len(body)} bytes instead of {descriptor.size}")
    found = digest_of(body)
    if found != descriptor.digest:
        raise DataLoss(f"manifest verification failed for digest {descriptor.digest}: it is {found}")
    kind = type_of(body, descriptor.digest)
    if kind != descriptor.media_type:
        raise InvalidArgument(
            f"manifest {descriptor.digest} came as {descriptor.media_type} and says that it is {kind}"
        )
    return body


def type_of(body: bytes, name: str) -> str:
    """The media type that a document has by its own words and shape. Raises InvalidArgument."""
    document = _object(body, name)
    lists, images = "manifests" in document, bool({"layers", "config"} & document.keys())
    if "fsLayers" in document or document.get("schemaVersion") == 1:
        raise InvalidArgument(
            f"manifest {name}: schema 1 image manifests are not supported: push the image again"
        )
    if lists and images:
        raise InvalidArgument(f"manifest {name} has both manifests and layers: it is refused")
    said = document.get("mediaType")
    if said is None:
        return INDEX if lists else MANIFEST
    if said not in MANIFEST_TYPES:
        raise InvalidArgument(f"manifest {name}: unsupported media type {said!r:.100}")
    if (said in (MANIFEST, DOCKER_MANIFEST)) == lists:
        raise InvalidArgument(
            f"manifest {name} says that it is {said} and has {'manifests' if lists else 'none'}"
        )
    return str(said)


def _object(body: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        start = body[:40].decode("utf-8", "replace")
        raise InvalidArgument(f"manifest {name} is not a JSON object but begins with {start!r}")
    return document


def described(kind: str, body: bytes, name: str) -> Descriptor:
    """The descriptor of a manifest that came under the Content-Type `kind`. Raises InvalidArgument."""
    kind = kind.partition(";")[0].strip()
    if kind in SCHEMA_1:
        raise InvalidArgument(
            f"manifest {name}: schema 1 image manifests are not supported: push the image again"
        )
    found = type_of(body, name)
    if kind in MANIFEST_TYPES and kind != found:
        raise InvalidArgument(f"manifest {name} came as {kind} and says that it is {found}")
    return Descriptor(found, digest_of(body), len(body))
