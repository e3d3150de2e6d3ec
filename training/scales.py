"""The INT8 scales that ship beside a model, from records that trained it: `python -m training.scales [MODEL]`.

No window of a patient who validates or tests takes part, and none is kept: only one number for each activation.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from engines.examples import Example
from engines.int8 import calibrate, keep_scales, shipped_path
from engines.model import SHIPPED, load
from rhythmd.labelled import of_folder
from training.splits import data_folder, splits

RECORDS = {"mitdb": 17, "svdb": 6, "vfdb": 8, "cudb": 6}
"""How many of those that train: all classes in as many people as a few minutes allow."""

EACH = 40
"""Windows of each class from each record."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED / "ecg1.onnx")
    model = load(parser.parse_args().model)
    examples: list[Example] = []
    for database, count in RECORDS.items():
        names = splits(data_folder())[database]["train"][:count]
        examples += of_folder(data_folder() / database, names, model, EACH, partial(print, file=sys.stderr))
    scales = calibrate(model, examples, "training records of mitdb, svdb, vfdb and cudb (PhysioNet)")
    keep_scales(scales, shipped_path(model))
    print(f"{shipped_path(model)}: {len(scales.activations)} scales from {scales.windows} windows, {scales.classes}")


if __name__ == "__main__":
    main()
