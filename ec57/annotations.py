"""WFDB annotation files: who marked what, and when.

The format is a stream of little-endian 16-bit words. The upper 6 bits are a code, the lower 10 usually the ticks since
the annotation before. Codes from 59 up are no annotations of their own: they lengthen the interval or add a field to
the annotation before them. The code 0 with 0 ticks ends the file.

A tick is a sample of the record, unless the file opens with a note `## time resolution: HZ`, so that a daemon at
250 Hz may annotate a record of 360 Hz in its own ticks. `Annotations.at` brings both to the record's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from math import floor, inf, nan
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_WORD = Struct("<H")
_SKIP, _NUMBER, _SUBTYPE, _CHANNEL, _AUX = range(59, 64)
_LONGEST_TICKS = 0x3FF
_RESOLUTION = "## time resolution: "

# Codes 0 to 41; a code without a mnemonic is written in brackets, as WFDB does.
_MNEMONICS = ' NLRaVFJASEj/Q~\0|\0sT*D"=pB^t+u?![]en@xf()r'
_SYMBOLS = tuple(f"[{code}]" if mnemonic == "\0" else mnemonic for code, mnemonic in enumerate(_MNEMONICS))
_CODES = {symbol: code for code, symbol in enumerate(_SYMBOLS)}

_AHA_CODES = b"NVFEPQROU"  # an AHA file starts with a zero byte and one of these

BEATS = frozenset("NLRaVFJASEj/QB?!enfr")
"""Symbols at which WFDB sees a QRS complex. The flutter wave `!` is among them, though it has no beat class."""

NOTE = '"'


class AnnotationError(ValueError):
    """The file is not what it should be; the message says where and how."""


class Annotation(NamedTuple):
    """One mark on the record."""

    sample: int
    symbol: str
    subtype: int = 0
    channel: int = 0
    number: int = 0
    aux: str = ""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What one annotator said about one record, in the order of the file."""

    items: tuple[Annotation, ...]
    rate_hz: float | None = None  # ticks a second where the file says so, else the record's sampling rate

    @classmethod
    def of(cls, samples: Sequence[int], symbols: Sequence[str], *, rate_hz: float | None = None) -> Annotations:
        """Plain beats: a symbol (or one character of a string) for each sample."""
        return cls(tuple(Annotation(int(n), symbol) for n, symbol in zip(samples, symbols, strict=True)), rate_hz)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Annotation]:
        return iter(self.items)

    def at(self, rate_hz: float) -> Annotations:
        """The same marks in ticks of `rate_hz`, halves rounded up as WFDB rounds them."""
        if self.rate_hz is None or self.rate_hz == rate_hz:
            return replace(self, rate_hz=rate_hz)
        factor = rate_hz / self.rate_hz
        return Annotations(
            tuple(item._replace(sample=floor(item.sample * factor + 0.5)) for item in self.items), rate_hz
        )


def read(path_without_extension: str | Path, extension: str) -> Annotations:
    """The annotations in the file `path_without_extension.extension`."""
    path = Path(f"{path_without_extension}.{extension}")
    try:
        return decode(path.read_bytes())
    except AnnotationError as error:
        raise AnnotationError(f"{path}: {error}") from None


def decode(data: bytes) -> Annotations:
    """The annotations in the bytes of a file. Raises AnnotationError when they end early or start wrongly."""
    if len(data) > 1 and data[0] == 0 and data[1] in _AHA_CODES:
        raise AnnotationError("AHA format is not supported; convert it with WFDB's rdann and wrann")
    rows: list[list[int | str]] = []
    sample = at = 0
    while True:
        if at + 2 > len(data):
            raise AnnotationError(f"ends after {len(data)} bytes without its end mark")
        (word,) = _WORD.unpack_from(data, at)
        code, value = word >> 10, word & _LONGEST_TICKS
        at += 2
        if word == 0:
            break
        if code == _SKIP:
            sample += int.from_bytes(data[at + 2 : at + 4] + data[at : at + 2], "little", signed=True)  # PDP-11 order
            at += 4
        elif code < _SKIP:
            sample += value
            channel, number = rows[-1][3:5] if rows else (0, 0)  # they hold until they are changed
            rows.append([sample, _symbol(code), 0, channel, number, ""])
        elif not rows:
            raise AnnotationError(f"code {code} at byte {at - 2} has no annotation before it")
        elif code == _AUX:
            size = value & 0xFF
            rows[-1][5] = data[at : at + size].split(b"\0")[0].decode("latin-1")
            at += size + size % 2
        else:
            column, narrowed = _FIELDS[code]
            rows[-1][column] = narrowed(value)
    items = tuple(Annotation(*row) for row in rows)  # type: ignore[arg-type]
    return Annotations(items, _resolution(items))


def write(annotations: Annotations, path_without_extension: str | Path, extension: str) -> None:
    """Write the file `path_without_extension.extension`; its items must be in order of time."""
    Path(f"{path_without_extension}.{extension}").write_bytes(encode(annotations))


def encode(annotations: Annotations) -> bytes:
    """The bytes of a file. Its rate is noted when it is known, unless the first item notes it already."""
    noted = bool(annotations.rate_hz) and _resolution(annotations.items) is not None
    return encoded(annotations.items, rate_hz=None if noted else annotations.rate_hz)


def encoded(items: Iterable[Annotation], *, rate_hz: float | None) -> bytes:
    """The bytes of a file, from items of any number: they need not all be there at once. Notes the rate if given."""
    if rate_hz:
        items = chain([Annotation(0, NOTE, aux=f"{_RESOLUTION}{rate_hz:.12g}")], items)
    data = bytearray()
    sample = channel = number = 0
    for item in items:
        ticks = item.sample - sample
        code = _CODES[item.symbol] if item.symbol in _CODES else int(item.symbol[1:-1])
        if not 0 <= ticks <= _LONGEST_TICKS or not (code or ticks):
            skip = (ticks if code else ticks - 1).to_bytes(4, "little", signed=True)
            data += _WORD.pack(_SKIP << 10) + skip[2:] + skip[:2]
            ticks = 0 if code else 1  # a null annotation of no ticks would read as the end of the file
        data += _WORD.pack(code << 10 | ticks)
        if item.subtype:
            data += _WORD.pack(_SUBTYPE << 10 | item.subtype & _LONGEST_TICKS)
        if item.channel != channel:
            data += _WORD.pack(_CHANNEL << 10 | item.channel & _LONGEST_TICKS)
        if item.number != number:
            data += _WORD.pack(_NUMBER << 10 | item.number & _LONGEST_TICKS)
        if item.aux:
            text = item.aux.encode("latin-1")[:255]
            data += _WORD.pack(_AUX << 10 | len(text)) + text + bytes(len(text) % 2)
        sample, channel, number = item.sample, item.channel, item.number
    return bytes(data + b"\0\0")


def _symbol(code: int) -> str:
    return _SYMBOLS[code] if code < len(_SYMBOLS) else f"[{code}]"


def _signed(value: int) -> int:
    """WFDB keeps these fields in a signed byte: an unreadable signal is noise of subtype -1."""
    return ((value & 0xFF) ^ 0x80) - 0x80


_FIELDS: dict[int, tuple[int, Callable[[int], int]]] = {
    _SUBTYPE: (2, _signed),
    _CHANNEL: (3, (0xFF).__and__),
    _NUMBER: (4, _signed),
}


def _resolution(items: Sequence[Annotation]) -> float | None:
    for item in items:
        if item.sample != 0 or item.symbol != NOTE or item.subtype != 0:
            return None  # only notes before everything else define the file
        if item.aux.startswith(_RESOLUTION):
            return _rate_hz(item.aux)
    return None


def _rate_hz(note: str) -> float:
    try:
        rate_hz = float(note[len(_RESOLUTION) :])
    except ValueError:
        rate_hz = nan
    if not 0 < rate_hz < inf:
        raise AnnotationError(f"no rate in the note {note!r}")
    return rate_hz
