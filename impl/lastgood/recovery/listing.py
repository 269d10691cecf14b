"""The entry names of a store and of its quarantine."""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen

from lastgood.backends.interface import DiskReader, join
from lastgood.errors import storage_error
from lastgood.format.names import QUARANTINE, GroupName, parse_name


@frozen
class StoreListing:
    """The entry names of a store and of its quarantine."""

    in_store: tuple[str, ...]
    in_quarantine: tuple[str, ...]


def list_entries(reader: DiskReader, store: str) -> tuple[str, ...]:
    """The entries of the store. Its quarantine is not looked at. StorageError."""
    try:
        return tuple(reader.names(store))
    except OSError as error:
        raise storage_error(f"listing {store!r}", error) from error


def list_store(reader: DiskReader, store: str) -> StoreListing:
    """The entries of the store and of its quarantine, which may be missing. StorageError."""
    names = list_entries(reader, store)
    return StoreListing(names, list_aside(reader, store, names))


def list_aside(reader: DiskReader, store: str, names: Collection[str]) -> tuple[str, ...]:
    """The entries of the quarantine of a store with these entries. StorageError."""
    quarantine = join(store, QUARANTINE)
    try:
        kind = reader.kind(quarantine) if QUARANTINE in names else "missing"
        return tuple(reader.names(quarantine)) if kind == "dir" else ()
    except OSError as error:
        raise storage_error(f"listing {quarantine!r}", error) from error


def list_quarantine(reader: DiskReader, store: str) -> list[tuple[str, GroupName]]:
    """The entries of the quarantine that have a group's name, and that name. StorageError."""
    entries = list_store(reader, store).in_quarantine
    named = ((entry, parse_name(entry, in_quarantine=True)) for entry in entries)
    return [(entry, name) for entry, name in named if name is not None]
