"""Names of images, taken apart as people write them. Imports nothing: lists of images load it."""

from __future__ import annotations


def split_reference(text: str) -> tuple[str, str]:
    """(name, tag or digest); the tag is `latest` when none is given."""
    name, at, digest = text.partition("@")
    if at:
        return name, digest
    head, colon, tag = text.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (text, "latest")


def whole_name(name: str) -> str:
    """With its registry: `alpine` is docker.io/library/alpine."""
    head, slash, rest = name.partition("/")
    if head in ("docker.io", "index.docker.io") and slash:
        name = rest
    elif slash and (set(head) & set(".:") or head == "localhost" or head != head.lower()):
        return name
    return f"docker.io/{name if '/' in name else f'library/{name}'}"
