"""Networks of other shapes with random weights, to time a layout before it is trained: `python -m bench.layouts OUT`.

Each is written with its manifest, and with INT8 scales that are good for nothing but timing. `rhythmd engine bench
--model OUT/NAME.onnx` then times it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from engines.int8 import METHOD, Scales, keep_scales, shipped_path
from engines.model import Model
from training.export import random_weights, write
from training.layout import Layout


def compact(channels: tuple[int, ...], taps: tuple[int, ...], strides: tuple[int, ...]) -> Layout:
    """Of the shipped network's kind."""
    return Layout(channels, taps, strides, seen=192, hidden=256, recalled=32)


def bottlenecks(
    depths: tuple[int, ...], taps: int, widths: tuple[int, ...] = (256, 512, 1024, 2048), seen: int = 256
) -> Layout:
    """ResNet-50's kind (He et al., 2015) over time: blocks that narrow to a quarter, look along time, widen again."""
    channels, kernels, strides, over = [64], [15], [4], [0]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for block in range(depth):
            channels += [width // 4, width // 4, width]
            kernels += [1, taps, 1]
            strides += [1, 2 if stage and not block else 1, 1]
            over += [0, 0, 3 if block else 0]
    lists = (tuple(channels), tuple(kernels), tuple(strides))
    return Layout(*lists, seen=seen, hidden=256, recalled=32, over=tuple(over))


def separable(depths: tuple[int, ...], taps: int, widths: tuple[int, ...], seen: int = 256) -> Layout:
    """MobileNet's kind: each block looks along time channel by channel, then mixes the channels."""
    channels, kernels, strides, over, groups = [widths[0]], [15], [4], [0], [1]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for block in range(depth):
            before = channels[-1]
            channels += [before, width]
            kernels += [taps, 1]
            strides += [2 if stage and not block else 1, 1]
            over += [0, 2 if block else 0]
            groups += [before, 1]
    lists = (tuple(channels), tuple(kernels), tuple(strides))
    return Layout(*lists, seen=seen, hidden=256, recalled=32, over=tuple(over), groups=tuple(groups))


def paths(taps: tuple[int, ...], width: int, strides: tuple[int, ...], seen: int = 256) -> Layout:
    """Scales side by side, as of Inception (Szegedy et al., 2015), and from the first map to the end."""
    channels = (64, *(width for _ in strides))
    return Layout(channels, (15,), (4, *strides), seen=seen, hidden=256, recalled=32, paths=taps)


LAYOUTS = {
    "compact8": compact((32, 32, 64, 64, 96, 96, 128, 128), (15, 9, 9, 9, 9, 9, 9, 5), (4, 1, 2, 1, 2, 1, 2, 1)),
    "compact7": compact((32, 64, 64, 96, 96, 128, 128), (15, 9, 9, 9, 9, 9, 5), (4, 2, 1, 2, 1, 2, 1)),
    "compact6": compact((32, 64, 64, 96, 96, 128), (15, 9, 5, 5, 5, 5), (4, 2, 1, 2, 1, 2)),
    "bottleneck50k9": bottlenecks((3, 4, 6, 3), 9),
    "bottleneck70k3": bottlenecks((3, 4, 12, 4), 3),
    "bottleneck91k5": bottlenecks((3, 4, 23), 5, (256, 512, 1024), seen=512),
    "separable": separable((4, 6, 34), 9, (256, 512, 768)),
    "paths8": paths((3, 5, 7, 9, 9, 11, 13, 15), 192, (2, 1, 1, 2, 1, 1, 1, 1, 1)),
    "paths12": paths((3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15), 160, (2, 1, 1, 2, 1, 1, 1, 1, 1)),
    "paths16": paths((3, 3, 5, 5, 7, 7, 9, 9, 9, 9, 11, 11, 13, 13, 15, 15), 160, (2, 1, 2, 1, 1, 1)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    args = parser.parse_args()
    for name in args.names or LAYOUTS:
        weights = random_weights(LAYOUTS[name], seed=1)
        model = Model(args.output / f"{name}.onnx", write(weights, args.output / f"{name}.onnx", "0"))
        convolutions = LAYOUTS[name].convolutions()
        scales = {"ecg": 1.0} | {f"{each.name}.relu": 0.05 for each in convolutions}
        keep_scales(Scales(model.manifest.sha256, "none", 0, {}, METHOD, scales), shipped_path(model))
        millions = sum(each.size for key, each in weights.items() if ".norm." not in key) / 1e6
        print(f"{name}: {len(convolutions)} convolutions, {millions:.2f} million parameters", flush=True)


if __name__ == "__main__":
    main()
