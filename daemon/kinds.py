"""Every kind of alert: what it is called everywhere, and how urgent it is."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.messages import Category, Priority


@dataclass(frozen=True, slots=True)
class Kind:
    category: Category
    priority: Priority  # as IEC 60601-1-8 uses the words; the standard leaves the choice to the maker
    latching: bool = False  # the lethal ones: no one may miss that it happened
    rhythm: str | None = None  # what the signal is called in an annotation file while it lasts


KINDS = {
    "ventricular_fibrillation": Kind("physiological", "high", latching=True, rhythm="VF"),
    "asystole": Kind("physiological", "high", latching=True, rhythm="ASYS"),
    "ventricular_tachycardia": Kind("physiological", "high", latching=True, rhythm="VT"),
    "extreme_bradycardia": Kind("physiological", "high", latching=True),
    "extreme_tachycardia": Kind("physiological", "high", latching=True),
    "atrial_fibrillation": Kind("physiological", "medium", rhythm="AFIB"),
    "ventricular_run": Kind("physiological", "medium", rhythm="VT"),
    "pause": Kind("physiological", "medium"),
    "supraventricular_run": Kind("physiological", "low", rhythm="SVTA"),
    "frequent_pvc": Kind("physiological", "low"),
    "ventricular_couplet": Kind("physiological", "low"),
    "patch_lost": Kind("technical", "medium", rhythm="NOISE"),
    "signal_lost": Kind("technical", "medium", rhythm="NOISE"),
    "lead_off": Kind("technical", "medium", rhythm="NOISE"),
    "engine_failing": Kind("technical", "medium"),
    "storage_failing": Kind("technical", "medium"),
    "noise": Kind("technical", "low", rhythm="NOISE"),
}
"""In the order of urgency: where several are open, the first names the rhythm."""


def rhythm_of(open_kinds: set[str]) -> str:
    """What the signal is called while alerts of these kinds are open; N when none says otherwise."""
    return next((kind.rhythm for name, kind in KINDS.items() if kind.rhythm and name in open_kinds), "N")
