"""Which records are asked for: by name, as a folder, as a list, here or at a URL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rhythmd.batch.files import filesystem, is_url
from rhythmd.recording import RecordError, name_of

SUFFIXES = (".hea", ".dat", ".mat")


@dataclass(frozen=True, slots=True)
class Asked:
    """One record, and the folder within the output directory that its results go to."""

    record: str
    under: str = ""


def asked(given: Iterable[str]) -> list[Asked]:
    """What each of RECORD... stands for. Results lie as the records do: raises RecordError where two would be one."""
    found = [each for one in given for each in (_at_url(one) if is_url(one) else _here(one))]
    places = Counter((each.under, name_of(each.record)) for each in found)
    if twice := sorted(f"{under}/{name}".lstrip("/") for (under, name), times in places.items() if times > 1):
        raise RecordError(f"{', '.join(twice)}: given twice; results are named after the record")
    return found


def _here(given: str) -> Iterator[Asked]:
    if not given:  # most likely a shell's variable that is not set
        raise RecordError("RECORD is empty; give a record, a folder (. is this one) or a list")
    path = Path(given)
    if given == "shipped" or Path(f"{given}.hea").is_file():
        yield Asked(given)
    elif path.is_dir():
        headers = {str(each.relative_to(path)): each for each in path.rglob("*.hea")}
        yield from _in_folder(given, {name: _text(each) for name, each in headers.items()})
    elif path.is_file() and not given.endswith(SUFFIXES):
        yield from _listed(given, _text(path), str(path.parent))
    else:
        yield Asked(given)  # or none: who opens it says what is missing


def _at_url(given: str) -> Iterator[Asked]:
    files, path = filesystem(given)
    try:
        if given.endswith(SUFFIXES) or files.isfile(f"{path}.hea"):
            yield Asked(given)
        elif files.isdir(path):
            root = path.rstrip("/")
            headers = [each for each in files.find(root) if each.endswith(".hea")]
            texts = files.cat(headers) if headers else {}  # all at once: each alone would wait for the network
            by_name = {each[len(root) + 1 :]: text.decode(errors="replace") for each, text in texts.items()}
            yield from _in_folder(given, by_name)
        elif files.isfile(path):
            yield from _listed(given, files.cat_file(path).decode(), given.rpartition("/")[0])
        elif "/" not in path.strip("/"):  # a bucket, by its place
            raise RecordError(f"{given}: no such bucket or folder")
        else:
            yield Asked(given)
    except RecordError:
        raise
    except Exception as error:  # each filesystem has errors of its own
        raise RecordError(f"{given}: cannot be listed: {str(error) or type(error).__name__}") from error


def _in_folder(folder: str, headers: dict[str, str]) -> Iterator[Asked]:
    """All records beneath it, but those that are segments of another."""
    segments = {
        str(PurePosixPath(name).parent / segment) for name, text in headers.items() for segment in _segments(text)
    }
    names = sorted(name.removesuffix(".hea") for name in headers)
    found = [name for name in names if name not in segments]
    if not found:
        raise RecordError(f"{folder}: no WFDB record in it (no .hea file)")
    for name in found:
        yield Asked(f"{folder.rstrip('/')}/{name}", _under(name))


def _segments(header: str) -> list[str]:
    """The names of a header's segments; none, if it is not of such a record (`name/segments signals rate length`)."""
    lines = [line.split() for line in header.splitlines() if line.strip() and not line.startswith("#")]
    return [words[0] for words in lines[1:]] if lines and "/" in lines[0][0] else []


def _listed(path: str, text: str, folder: str) -> Iterator[Asked]:
    """One record a line, as in the `RECORDS` of a PhysioNet database: paths are relative to the list."""
    names = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not names:
        raise RecordError(f"{path}: no record in it; it should name one a line")
    for name in names:
        if is_url(name) or name.startswith("/"):
            yield Asked(name)
        else:
            yield Asked(f"{folder}/{name}", _under(name))


def _under(name: str) -> str:
    """Where its results go; never out of the output directory, whatever a list or a server's index says."""
    folder = PurePosixPath(name).parent
    leads_out = folder.is_absolute() or ".." in folder.parts
    return "" if leads_out or folder == PurePosixPath(".") else str(folder)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
