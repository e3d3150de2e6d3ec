"""Which records of a database are told apart when results are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230"
_DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234"
MITDB_DS1, MITDB_DS2 = _DS1.split(), _DS2.split()
"""The inter-patient halves of de Chazal et al. 2004: what is trained on DS1 is reported on DS2."""

MITDB_PACED = ["102", "104", "107", "217"]
"""EC57 leaves them out of the figures for ectopic beats."""

_TRAINED = {  # beats or rhythms of the networks that rhythmd ships; engines/models says so too
    "svdb": "800 804 806 810 812 823 825 829 841 845 847 851 853 857 859 863 865 869 871 875 877 881 883 887 889 893",
    "vfdb": "418 419 420 421 422 423 424 425",
    "cudb": "cu01 cu05 cu07 cu11 cu13 cu17 cu19 cu23 cu25 cu29 cu31 cu35",
}
_PUBLISHED = {
    "svdb": [str(number) for number in (*range(800, 813), *range(820, 830), *range(840, 895))],
    "vfdb": [*map(str, range(418, 431)), *["602", "605", "607", "609", "610", "611", "612", "614", "615"]],
    "cudb": [f"cu{number:02}" for number in range(1, 36)],
}


def _by_training(database: str) -> Mapping[str, Sequence[str]]:
    trained = _TRAINED[database].split()
    return {"trained": trained, "not-trained": [name for name in _PUBLISHED[database] if name not in trained]}


SETS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "mitdb": {
        "ds1": MITDB_DS1,
        "ds2": MITDB_DS2,
        "ds2-without-232": [name for name in MITDB_DS2 if name != "232"],  # which alone holds 3 of 4 S beats of DS2
        "unpaced": sorted(MITDB_DS1 + MITDB_DS2),
        "paced": MITDB_PACED,
    },
    "nstdb": {  # by the signal-to-noise ratio
        "24db": ["118e24", "119e24"],
        "18db": ["118e18", "119e18"],
        "12db": ["118e12", "119e12"],
        "6db": ["118e06", "119e06"],
        "0db": ["118e00", "119e00"],
        "-6db": ["118e_6", "119e_6"],
    },
    **{database: _by_training(database) for database in _TRAINED},
}
"""By the name of the database's folder: each set's name and its records."""

WHAT_SETS_ARE: Mapping[str, str] = {
    "mitdb": "ds1 and ds2 are the inter-patient halves of de Chazal et al. 2004; 102 104 107 217 are paced, and EC57 "
    "leaves them out of the figures for ectopic beats",
    **dict.fromkeys(_TRAINED, "trained: the shipped networks learned from these; not-trained: people they never saw"),
    "nstdb": "by the signal-to-noise ratio; noise alternates with clean ECG every 2 min from 5 min on",
}

SOURCES: Mapping[str, str] = {
    "mitdb": "MIT-BIH Arrhythmia Database: Moody and Mark, IEEE Eng Med Biol 20(3), 2001",
    "nstdb": "MIT-BIH Noise Stress Test Database: Moody, Muldrow and Mark, Computers in Cardiology 1984",
    "svdb": "MIT-BIH Supraventricular Arrhythmia Database: Greenwald, Patil and Mark, Computers in Cardiology 1990",
    "vfdb": "MIT-BIH Malignant Ventricular Ectopy Database: Greenwald, PhD thesis, MIT 1986",
    "cudb": "Creighton University Ventricular Tachyarrhythmia Database: Nolle et al., Computers in Cardiology 1986",
    "qtdb": "QT Database: Laguna et al., Computers in Cardiology 1997",
    "challenge2015": "PhysioNet/CinC Challenge 2015: Clifford et al., Computing in Cardiology 2015",
    "cinc2017": "PhysioNet/CinC Challenge 2017: Clifford et al., Computing in Cardiology 2017",
}
"""What to cite with a number: PhysioNet (Goldberger et al., Circulation 101(23), 2000), licence ODC-By 1.0."""
