"""Writes sidecars, compares files with them, and scans folders."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Final, Self

from attrs import frozen

from lastgood.backends.detect import disk_here
from lastgood.backends.posix_files import opened_file
from lastgood.errors import StorageError, UsageError, describe_error, storage_error
from lastgood.guard.limits import Limits
from lastgood.guard.npz import load_npz
from lastgood.guard.report import FileReport
from lastgood.guard.safetensors_file import load_safetensors
from lastgood.guard.sidecar import (
    FORMATS,
    LIMIT_BYTES,
    SUFFIX,
    FormatName,
    Sidecar,
    SidecarError,
    decode_sidecar,
    encode_sidecar,
    format_of,
)
from lastgood.guard.tensors import (
    LoaderMissingError,
    LoadFailedError,
    TensorFacts,
    content_digest,
)
from lastgood.guard.torch_child import TorchChild
from lastgood.parts.verify import MISSING_ERRNOS, NOT_REGULAR_ERRNOS

_TEMPORARY: Final = ".guard-tmp"


@frozen
class _Seen:
    """The bytes of a file as they are: size and SHA-256; the size alone where that says it all."""

    size_bytes: int
    sha256: str | None


class Guard:
    """Checks files; one child process serves all of PyTorch's.  Use it as a context, or close it.

    `reject_nonfinite` rejects a file with NaN or infinity, which otherwise warns.
    """

    def __init__(
        self,
        *,
        reject_nonfinite: bool = False,
        limits: Limits | None = None,
        torch_child: TorchChild | None = None,
    ) -> None:
        self._limits = Limits() if limits is None else limits
        self._rejects_nonfinite = reject_nonfinite
        self._torch = TorchChild(self._limits) if torch_child is None else torch_child
        self._disk = disk_here()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process, if there is one."""
        self._torch.close()

    def describe(self, path: str | PurePath, format: FormatName | None = None) -> Sidecar:  # noqa: A002
        """The sidecar that the file would get as it is now; `format` goes by its name if None.

        UsageError where there is no regular file, or it cannot be loaded in its format.
        LoaderMissingError; StorageError.
        """
        where, kind = str(path), _known(format, path)
        try:
            size_bytes, sha256 = self._disk.digest(where, self._limits.file_bytes)
            tensors = None if kind == "opaque" else self._load(where, kind, size_bytes)
        except LoadFailedError as error:
            raise UsageError(
                f"{where!r} cannot be loaded as {kind} ({error.kind}: {error}), so it got no "
                "sidecar. Name another format, or save the file again. Nothing was changed."
            ) from error
        except OSError as error:
            if error.errno in MISSING_ERRNOS | NOT_REGULAR_ERRNOS | {errno.EFBIG}:
                raise UsageError(
                    f"{where!r} is no regular file that can be read within the limits "
                    f"({describe_error(error)}). Nothing was changed."
                ) from error
            raise storage_error(f"reading {where!r}", error) from error
        return Sidecar(size_bytes, sha256, kind, tensors)

    def write_sidecar(
        self, path: str | PurePath, format: FormatName | None = None  # noqa: A002
    ) -> Path:  # fmt: skip
        """Write the sidecar of a file, durably, in place of an older one; its path.

        Errors as `describe`.
        """
        sidecar = self.describe(path, format)
        target = sidecar_path(path)
        self._replace(str(target), encode_sidecar(sidecar))
        return target

    def check(self, path: str | PurePath, sidecar: Sidecar | None = None) -> FileReport:
        """Compare a file with its sidecar, the one beside it if none is given; load it.

        Damage is never an error: it is in the report.  StorageError where this machine failed.
        """
        where = str(path)
        reasons: list[str] = []
        warnings: list[str] = []
        if sidecar is None:
            sidecar = self._beside(where, reasons, warnings)
        try:
            seen = self._look(where, sidecar)
        except OSError as error:
            return _not_read(where, error, sidecar, tuple(reasons), tuple(warnings))
        kind = format_of(where) if sidecar is None else sidecar.format
        load_ok, tensors, detail = self._try_to_load(where, kind, seen, reasons, warnings)
        shape_ok, digest_ok, damaged = _compare(sidecar, tensors)
        file_sha_ok = None if sidecar is None else seen.sha256 == sidecar.sha256
        for holds, reason in (
            (shape_ok, "shape_mismatch"),
            (digest_ok, "digest_mismatch"),
            (file_sha_ok, "file_sha_mismatch"),
        ):
            if holds is False:
                reasons.append(reason)
        nan_total = sum(each.nan or 0 for each in tensors or ())
        inf_total = sum(each.inf or 0 for each in tensors or ())
        warnings += [f"nan:{nan_total}"] * bool(nan_total) + [f"inf:{inf_total}"] * bool(inf_total)
        if self._rejects_nonfinite and nan_total + inf_total:
            reasons.append("nonfinite")
        return FileReport(
            where, seen.size_bytes, seen.sha256, load_ok, shape_ok, digest_ok, file_sha_ok,
            nan_total, inf_total, tuple(reasons), tuple(warnings), damaged, detail,
            *_held(sidecar),
        )  # fmt: skip

    def scan(self, folder: str | PurePath) -> Iterator[FileReport]:
        """Check each file of a folder that has a sidecar, or whose format is known, by name.

        A sidecar whose file is missing gives a report as well.  UsageError where there is no
        folder; StorageError.
        """
        where = str(folder)
        try:
            if self._disk.kind(where) != "dir":
                raise UsageError(f"{where!r} is no directory. Nothing was changed.")
            names = self._disk.names(where)
        except OSError as error:
            raise storage_error(f"listing {where!r}", error) from error
        guarded = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
        known = {
            name
            for name in names
            if format_of(name) != "opaque" and self._kind(where, name) in ("file", "other")
        }
        for name in sorted(known | guarded - {""}):
            yield self.check(f"{where.rstrip('/')}/{name}")

    def _kind(self, folder: str, name: str) -> str:
        try:
            return self._disk.kind(f"{folder.rstrip('/')}/{name}")
        except OSError:
            return "file"  # the check says what is wrong with it

    def _beside(self, path: str, reasons: list[str], warnings: list[str]) -> Sidecar | None:
        """The sidecar beside a file; what is wrong with it goes to the reasons. StorageError."""
        where = str(sidecar_path(path))
        try:
            return decode_sidecar(self._disk.read(where, LIMIT_BYTES))
        except SidecarError as error:
            reasons.append(f"meta_error:{type(error).__name__}")
        except OSError as error:
            if error.errno == errno.ENOENT and not getattr(error, "of_a_read", False):
                warnings.append("no_sidecar")
            elif error.errno in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE):
                raise storage_error(f"reading {where!r}", error) from error
            else:
                reasons.append(f"meta_error:{type(error).__name__}")
        return None

    def _look(self, path: str, sidecar: Sidecar | None) -> _Seen:
        """The bytes of the file. A file of another size than it had is not hashed for ever."""
        limit = self._limits.file_bytes
        if sidecar is None:
            return _Seen(*self._disk.digest(path, limit))
        with opened_file(path, None) as (_, size_bytes):
            pass
        longest = min(limit, max(2 * sidecar.size_bytes, 1 << 20))
        if size_bytes != sidecar.size_bytes and size_bytes > longest:
            return _Seen(size_bytes, None)
        return _Seen(*self._disk.digest(path, limit))

    def _try_to_load(
        self, path: str, kind: FormatName, seen: _Seen, reasons: list[str], warnings: list[str]
    ) -> tuple[bool | None, tuple[TensorFacts, ...] | None, str]:
        if kind == "opaque":
            return None, None, ""
        try:
            if seen.sha256 is None:
                raise LoadFailedError("TooLarge", f"it has {seen.size_bytes} bytes now")
            return True, self._load(path, kind, seen.size_bytes), ""
        except LoadFailedError as error:
            reasons.append(f"load_error:{error.kind}")
            return False, None, str(error)
        except LoaderMissingError as error:
            warnings.append(f"not_loaded:no_{error.package}")
            return None, None, str(error)
        except OSError as error:
            reasons.append(f"load_error:{type(error).__name__}")
            return False, None, describe_error(error)

    def _load(self, path: str, kind: FormatName, size_bytes: int) -> tuple[TensorFacts, ...]:
        if kind == "npz":
            return load_npz(path, self._limits)
        if kind == "safetensors":
            return load_safetensors(path, self._limits)
        return self._torch.load(path, size_bytes)

    def _replace(self, target: str, data: bytes) -> None:
        """Write a file under another name, sync it, rename it, and sync its directory."""
        temporary = f"{target}{_TEMPORARY}-{os.getpid()}"
        folder = target.rpartition("/")[0] or ("/" if target.startswith("/") else ".")
        try:
            with contextlib.suppress(FileNotFoundError):
                self._disk.unlink(temporary)  # of a process that died; a symlink itself is removed
            self._disk.create(temporary)
            try:
                self._disk.write(temporary, data)
                self._disk.fsync(temporary)
            finally:
                self._disk.close(temporary)
            self._disk.rename(temporary, target)
            self._disk.fsync_dir(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary)
            raise StorageError(
                f"writing {target!r} failed: {describe_error(error)}. The file itself was not "
                "touched. Mend the disk or the permissions, then try again."
            ) from error


def sidecar_path(path: str | PurePath) -> Path:
    """The path of a file's sidecar."""
    return Path(f"{path}{SUFFIX}")


def write_sidecar(
    path: str | PurePath, *, format: FormatName | None = None, limits: Limits | None = None  # noqa: A002
) -> Path:  # fmt: skip
    """Write the sidecar of one file: see `Guard.write_sidecar`."""
    with Guard(limits=limits) as guard:
        return guard.write_sidecar(path, format)


def check(
    path: str | PurePath,
    *,
    sidecar: Sidecar | None = None,
    reject_nonfinite: bool = False,
    limits: Limits | None = None,
) -> FileReport:
    """Check one file: see `Guard.check`."""
    with Guard(reject_nonfinite=reject_nonfinite, limits=limits) as guard:
        return guard.check(path, sidecar)


def scan(
    folder: str | PurePath, *, reject_nonfinite: bool = False, limits: Limits | None = None
) -> list[FileReport]:
    """Check the files of a folder: see `Guard.scan`."""
    with Guard(reject_nonfinite=reject_nonfinite, limits=limits) as guard:
        return list(guard.scan(folder))


def _known(kind: Any, path: str | PurePath) -> FormatName:
    if kind is None:
        return format_of(str(path))
    if kind not in FORMATS:
        raise UsageError(
            f"format is {kind!r}, expected one of {', '.join(FORMATS)}. Nothing was changed."
        )
    found: FormatName = kind
    return found


def _held(sidecar: Sidecar | None) -> tuple[bool, bool]:
    """Say whether there is a sidecar, and whether it has digests of tensors."""
    return sidecar is not None, sidecar is not None and sidecar.tensors is not None


def _compare(
    sidecar: Sidecar | None, tensors: Iterable[TensorFacts] | None
) -> tuple[bool | None, bool | None, tuple[str, ...]]:
    """Shapes as expected, content as expected, and the tensors whose content is another one."""
    if sidecar is None or sidecar.tensors is None or tensors is None:
        return None, None, ()
    found = {each.name: each for each in tensors}
    expected = sidecar.tensors
    shape_ok = {name: each.shape for name, each in found.items()} == {
        each.name: each.shape for each in expected
    }
    if any(each.name not in found for each in expected):
        return shape_ok, None, ()  # a digest of what is not there
    now = [found[each.name] for each in expected]
    damaged = tuple(n.name for n, e in zip(now, expected, strict=True) if n.digest != e.digest)
    return shape_ok, content_digest(now) == content_digest(expected), damaged


def _not_read(
    path: str,
    error: OSError,
    sidecar: Sidecar | None,
    reasons: tuple[str, ...],
    warnings: tuple[str, ...],
) -> FileReport:
    """The report on a file whose bytes cannot be had. StorageError where this machine failed."""
    name, of_a_read = path.rpartition("/")[2], getattr(error, "of_a_read", False)
    if error.errno in MISSING_ERRNOS and not of_a_read:
        reason = f"missing:{name}"
    elif error.errno in NOT_REGULAR_ERRNOS and not of_a_read:
        reason = f"not_regular:{name}"
    elif error.errno == errno.EFBIG and not of_a_read:
        reason = f"too_large:{name}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise storage_error(f"reading {path!r}", error) from error
    else:
        reason = f"unreadable:{name}"
    judged = None if sidecar is None else False
    return FileReport(
        path, None, None, False, None, None, judged,
        0, 0, (*reasons, reason), warnings, (), describe_error(error), *_held(sidecar),
    )  # fmt: skip
