"""The configuration: frozen structs from TOML. daemon/default.toml is the manual, and holds the same defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct, field

from daemon.patch import Patch
from engines.backend import BACKENDS

DEFAULT_FILE = Path(__file__).parent / "default.toml"

Rate = Annotated[float, Meta(gt=0, le=300)]  # beats per minute; beyond, no heart would ever raise the alert
Fraction = Annotated[float, Meta(ge=0, le=1)]
Beats = Annotated[int, Meta(ge=2, le=30)]  # as far back as a rate is remembered
RunBeats = Annotated[int, Meta(ge=3, le=30)]
Action = Literal["alarm", "record", "silent"]


class ConfigError(Exception):
    """The configuration cannot be used. The message names file, key and remedy."""


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Engine(_Section, frozen=True):
    backend: str = "onnxruntime"
    model: str = "ecg1"
    wait: Literal["block", "spin"] = "block"


class Publish(_Section, frozen=True):
    bind: tuple[str, ...] = ("tcp://127.0.0.1:8251", "ipc://{runtime}/alerts.ipc")
    keys: str = ""


class Store(_Section, frozen=True):
    directory: str = "{state}"
    keep_days: Annotated[float, Meta(ge=1, le=3650)] = 90.0
    keep_mb: Annotated[float, Meta(ge=1, le=100_000)] = 64.0


class Records(_Section, frozen=True):
    directory: str = "{state}/records"
    keep_mb: Annotated[float, Meta(ge=1, le=10_000_000)] = 512.0
    full_disclosure: bool = False


class Metrics(_Section, frozen=True):
    port: Annotated[int, Meta(ge=0, le=65535)] = 9250


class Asystole(_Section, frozen=True):
    action: Action = "alarm"
    no_beat_s: Annotated[float, Meta(ge=2, le=10)] = 4.0


class Fibrillation(_Section, frozen=True):
    action: Action = "alarm"
    on_probability: Fraction = 0.6
    off_probability: Fraction = 0.3
    sustained_s: Annotated[float, Meta(ge=1, le=10)] = 3.0


class Tachycardia(_Section, frozen=True):
    action: Action = "alarm"
    beats: RunBeats = 5
    rate_bpm: Rate = 100.0
    probability: Fraction = 0.5


class Run(_Section, frozen=True):
    action: Action = "record"
    beats: RunBeats = 3


class VentricularRun(Run, frozen=True):
    action: Action = "alarm"


class Couplet(_Section, frozen=True):
    action: Action = "record"


class FrequentPvc(_Section, frozen=True):
    action: Action = "record"
    per_minute: Annotated[int, Meta(ge=2, le=200)] = 10


class AtrialFibrillation(_Section, frozen=True):
    action: Action = "alarm"
    on_probability: Fraction = 0.97
    off_probability: Fraction = 0.25
    alarm_probability: Annotated[float, Meta(ge=0.5, lt=1)] = 0.995
    persistence_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0


class ExtremeRate(_Section, frozen=True, kw_only=True):
    action: Action = "alarm"
    rate_bpm: Rate
    beats: Beats


class ExtremeBradycardia(ExtremeRate, frozen=True):
    rate_bpm: Rate = 40.0
    beats: Beats = 4


class ExtremeTachycardia(ExtremeRate, frozen=True):
    rate_bpm: Rate = 140.0
    beats: Beats = 13


class Pause(_Section, frozen=True):
    action: Action = "record"
    rr_s: Annotated[float, Meta(ge=1, le=10)] = 3.0


class Technical(_Section, frozen=True):
    action: Action = "alarm"


class Noise(_Section, frozen=True):
    action: Action = "alarm"
    on_probability: Fraction = 0.8
    persistence_s: Annotated[float, Meta(ge=1, le=600)] = 10.0


class Alerts(_Section, frozen=True):
    asystole: Asystole = Asystole()
    ventricular_fibrillation: Fibrillation = Fibrillation()
    ventricular_tachycardia: Tachycardia = Tachycardia()
    ventricular_run: VentricularRun = VentricularRun()
    ventricular_couplet: Couplet = Couplet()
    frequent_pvc: FrequentPvc = FrequentPvc()
    supraventricular_run: Run = Run()
    atrial_fibrillation: AtrialFibrillation = AtrialFibrillation()
    extreme_bradycardia: ExtremeBradycardia = ExtremeBradycardia()
    extreme_tachycardia: ExtremeTachycardia = ExtremeTachycardia()
    pause: Pause = Pause()
    lead_off: Technical = Technical()
    signal_lost: Technical = Technical()
    noise: Noise = Noise()
    patch_lost: Technical = Technical()
    engine_failing: Technical = Technical()
    storage_failing: Technical = Technical()

    def action(self, kind: str) -> Action:
        chosen: Action = getattr(self, kind).action
        return chosen


class Bed(Patch, frozen=True):
    """One of `[[patches]]`: a patch, and the keys of `[alerts]` that are others for who wears it."""

    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)


class Wearer(NamedTuple):
    """A patch, and the limits for who wears it."""

    patch: Patch
    alerts: Alerts


class Config(_Section, frozen=True):
    patch: Patch = field(default_factory=Patch)
    patches: tuple[Bed, ...] = ()  # in place of `patch` where one gateway reads several
    engine: Engine = field(default_factory=Engine)
    publish: Publish = field(default_factory=Publish)
    store: Store = field(default_factory=Store)
    records: Records = field(default_factory=Records)
    metrics: Metrics = field(default_factory=Metrics)
    alerts: Alerts = field(default_factory=Alerts)

    @property
    def wearers(self) -> tuple[Wearer, ...]:
        """Whoever is watched: one, or each of `[[patches]]`. Raises ConfigError when a bed's limits are none."""
        if not self.patches:
            return (Wearer(self.patch, self.alerts),)
        return tuple(Wearer(bed, _limits(self.alerts, bed, place)) for place, bed in enumerate(self.patches))


def _limits(ward: Alerts, bed: Bed, place: int) -> Alerts:
    """Those of the ward, but for what this bed has otherwise."""
    limits: dict[str, dict[str, Any]] = msgspec.to_builtins(ward)
    others = {kind: limits.get(kind, {}) | keys for kind, keys in bed.alerts.items()}
    try:
        return msgspec.convert(limits | others, Alerts)
    except msgspec.ValidationError as error:
        raise ConfigError(f"patches[{place}].alerts.{in_words(str(error))}") from None


def load(path: Path) -> Config:
    """Read and check a configuration file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `rhythmd config > {path}` writes one to start from") from None
    if not text.strip():
        raise ConfigError(f"{path}: is empty; `rhythmd config > {path}` writes one to start from")
    try:
        given = msgspec.toml.decode(text)
        config = msgspec.convert(given, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {in_words(str(error))}; `rhythmd config` explains every key") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}; `rhythmd config` prints a file that is") from None
    if "patch" in given and "patches" in given:
        raise ConfigError(f"{path}: [patch] and [[patches]] exclude each other: make [patch] one more of [[patches]]")
    check(config, str(path))
    return config


def check(config: Config, where: str) -> None:
    """Refuse what types alone cannot tell is wrong."""
    if config.engine.backend not in BACKENDS:
        raise ConfigError(
            f"{where}: engine.backend: {config.engine.backend!r} is not one of {', '.join(sorted(BACKENDS))}"
        )
    try:
        wearers = config.wearers
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    for place, wearer in enumerate(wearers):
        of_bed = f"patches[{place}]." if config.patches else ""
        if complaint := wearer.patch.complaint():
            raise ConfigError(f"{where}: {of_bed or 'patch.'}{complaint}")
        _check_limits(wearer.alerts, f"{where}: {of_bed}alerts")
    _check_beds(config.patches, where)
    _check_addresses(config.publish, where)


def _check_limits(alerts: Alerts, where: str) -> None:
    for kind in ("ventricular_fibrillation", "atrial_fibrillation"):
        section = getattr(alerts, kind)
        if section.off_probability >= section.on_probability:
            raise ConfigError(f"{where}.{kind}: off_probability must be below on_probability")
    if alerts.pause.rr_s >= alerts.asystole.no_beat_s:
        raise ConfigError(f"{where}.pause: rr_s must be below alerts.asystole no_beat_s, or no pause is ever seen")


def _check_beds(beds: tuple[Bed, ...], where: str) -> None:
    """Two patches of one name could not be told apart, and two readers of one port would each get half of the bytes."""
    for key in ("id", "port"):
        given = [getattr(bed, key) for bed in beds]
        if twice := sorted({each for each in given if given.count(each) > 1}):
            raise ConfigError(
                f"{where}: patches: {key} {', '.join(map(repr, twice))} is there twice; give each its own"
            )
    if any(not bed.port for bed in beds):
        raise ConfigError(f"{where}: patches: one has no port; `rhythmd doctor` lists the ports that are there")


def _check_addresses(publish: Publish, where: str) -> None:
    if not publish.bind:
        raise ConfigError(f"{where}: publish.bind: give at least one address, or no one hears an alert")
    for address in publish.bind:
        tcp = re.fullmatch(r"tcp://[^:/]+:(\d{1,5})", address)
        if not (tcp and 0 < int(tcp[1]) < 2**16 - 1) and not re.fullmatch(r"ipc://.+", address):
            raise ConfigError(f"{where}: publish.bind: {address!r} is neither tcp://ADDRESS:PORT nor ipc://PATH")
        if not is_local(address) and not publish.keys:
            raise ConfigError(
                f"{where}: publish.bind: {address} can be reached from other machines: name the folder of their keys "
                "in publish.keys (`rhythmd keys init` makes it), or bind to 127.0.0.1"
            )


def is_local(address: str) -> bool:
    """Whether only this machine reaches it."""
    host = address.removeprefix("tcp://").rpartition(":")[0]
    return address.startswith("ipc://") or host == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def in_words(error: str) -> str:
    """The key first: `Expected float - at $.patch.rate_hz` becomes `patch.rate_hz: expected float`."""
    message, _, place = error.partition(" - at `$")
    key = place.strip("`.")
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        return f"{key + '.' if key else ''}{unknown[1]}: unknown key"
    return f"{key}: {message[0].lower()}{message[1:]}" if key else message
