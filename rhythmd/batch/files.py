"""A record's files, here or at a URL that fsspec knows: `s3://bucket/ward/100`, `https://...`, `gs://...`.

Of a record elsewhere the header is fetched first, since it says whether there is anything to do; its signals only when
they are asked for, into a temporary folder that goes when the record is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rhythmd.batch.temporary import temporary_folder
from rhythmd.evaluation.store import source_of
from rhythmd.recording import RecordError, header_of, stem


class Files(Protocol):
    record: str
    """Its path here, without suffix."""

    def source(self) -> dict[str, list[int]]:
        """Size and time of each file, by which it is told whether the record is still the same."""
        ...

    def fetch(self) -> None:
        """Bring the signals here, if they are not."""
        ...


def is_url(record: str) -> bool:
    return "://" in record


@contextmanager
def files_of(record: str) -> Iterator[Files]:
    """Raises RecordError, also for what a caller raises of the files' copy: it then names the record itself."""
    if not is_url(record):
        yield _Here(stem(record))
        return
    with temporary_folder() as folder:
        try:
            yield _Elsewhere(stem(record), folder)
        except RecordError as error:
            away, _, _ = stem(record).rpartition("/")
            raise RecordError(str(error).replace(str(folder), away)) from error


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem that fsspec has for a URL, and the path within it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise RecordError(f"{url}: reading it needs fsspec: pip install 'rhythmd[evaluate]'") from None
    try:
        found: tuple[Any, str] = url_to_fs(url)
    except (ImportError, ValueError) as error:  # no such protocol, or its package is not installed: fsspec says which
        raise RecordError(f"{url}: fsspec cannot open it: {error}") from None
    return found


class _Here:
    def __init__(self, record: str) -> None:
        self.record = record

    def source(self) -> dict[str, list[int]]:
        return source_of(Path(self.record))

    def fetch(self) -> None:
        pass


class _Elsewhere:
    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._files, path = filesystem(url)
        self._away, _, name = path.rpartition("/")
        self._folder = folder
        self.record = str(folder / name)
        self._headers, self._signals = [f"{name}.hea"], set[str]()
        for header in self._headers:  # which grows: a record of several segments names their headers
            self._get(header)
            found = header_of(str(folder / header.removesuffix(".hea")), segments=False)
            named = {each for each in getattr(found, "file_name", None) or [] if each != "~"}
            self._signals |= named
            segments = getattr(found, "seg_name", None) or []
            named_headers = [f"{each}.hea" for each in dict.fromkeys(segments) if each != "~"]
            self._headers += [each for each in named_headers if each not in self._headers]  # it may name itself
            if not found.sig_len:  # how long it is only its signals tell
                self.fetch()

    def source(self) -> dict[str, list[int]]:
        names = sorted({self._headers[0], *(self._signals if len(self._headers) == 1 else ())})  # as for files here
        return {name: self._size_and_time(name) for name in names}

    def fetch(self) -> None:
        for name in sorted(self._signals):
            self._get(name)

    def _get(self, name: str) -> None:
        try:
            self._files.get_file(f"{self._away}/{name}", str(self._folder / name))
        except FileNotFoundError:
            raise RecordError(f"{self._url}: no such record (no {name} beside it)") from None
        except Exception as error:  # each filesystem has errors of its own
            raise RecordError(f"{self._url}: {name} cannot be fetched: {_said(error)}") from error

    def _size_and_time(self, name: str) -> list[int]:
        path = f"{self._away}/{name}"
        try:
            return [int(self._files.info(path)["size"] or 0), self._time(path)]
        except Exception as error:  # likewise
            raise RecordError(f"{self._url}: {name} cannot be looked at: {_said(error)}") from error

    def _time(self, path: str) -> int:
        try:
            seconds: float = self._files.modified(path).timestamp()
        except (NotImplementedError, KeyError):  # HTTP does not tell: there the size alone must do
            return 0
        return round(seconds * 1e9)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
