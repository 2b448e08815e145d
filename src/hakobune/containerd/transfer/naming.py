"""How images of an archive get their names: from its annotations, completed by what the client asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hakobune.proto.transfer_types_pb2 import ImageReference, ImageStore

FULL = "io.containerd.image.name"
SHORT = "org.opencontainers.image.ref.name"
_ENDS_A_NAME = "/:@"


def of_archive(store: ImageStore, annotations: Mapping[str, str], digest: str) -> list[str]:
    """The names of one of the images that an archive lists."""
    return [
        name
        for asked in store.extra_references
        if asked.is_prefix
        for name in _by(asked, annotations, digest)
    ]


def _by(asked: ImageReference, annotations: Mapping[str, str], digest: str) -> Iterator[str]:
    name = _annotated(asked, annotations)
    if name:
        yield name
    if asked.add_digest and not (name and asked.skip_named_digest):
        yield f"{asked.name}@{digest}"


def _annotated(asked: ImageReference, annotations: Mapping[str, str]) -> str:
    """A full name counts only as it stands; a tag alone is put behind the prefix."""
    full = annotations.get(FULL, "")
    if full:
        return full if _completed(asked, full) == full else ""
    short = annotations.get(SHORT, "")
    return _completed(asked, short) if short else ""


def _completed(asked: ImageReference, name: str) -> str:
    if not asked.name:
        return ""
    if not any(sign in name for sign in _ENDS_A_NAME):
        return f"{asked.name}:{name}"
    fits = name.startswith(asked.name) and (name == asked.name or name[len(asked.name)] in _ENDS_A_NAME)
    return name if asked.allow_overwrite or fits else ""


def of_whole(store: ImageStore, digest: str) -> list[str]:
    """The names of the one thing that is transferred, an archive's whole index among them."""
    names = [store.name] if store.name else []
    for asked in store.extra_references:
        if asked.add_digest:
            names.append(f"{asked.name}@{digest}")
        elif not asked.is_prefix:
            names.append(asked.name)
    return names


def short_name(full: str) -> str:
    """What an archive's index has as the name: the tag, or all of a name that has none."""
    _, colon, tag = full.rpartition("/")[2].partition(":")
    return tag if colon and "@" not in full else full


def annotated(full: str, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with both annotations of a name."""
    return {**base, FULL: full, SHORT: short_name(full)}


def sources(store: ImageStore) -> Iterable[str]:
    """The names that an export asks for."""
    return [*([store.name] if store.name else []), *(asked.name for asked in store.extra_references)]
