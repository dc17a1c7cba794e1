"""The winner's network: what it confuses, its test score, its first layer's weights as images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.report.measuring import Network, network_of
from hpsearch.report.panel import Axis, Cells, Panel
from hpsearch.report.section import Part, PngImage, Section, Table, Text
from hpsearch.report.winner import winner

if TYPE_CHECKING:
    import pandas as pd

    from hpsearch.report.reading import Reading

MOST_CLASSES = 40  # of a confusion matrix that is drawn; of more, the pairs most confused
MOST_PAIRS = 20
MOST_TILES = 64  # units, or filters, whose weights are drawn
TILES_A_ROW = 16
LEAST_SIDE = 3  # pixels; smaller filters show nothing
SHOWN_WIDTH = 900  # pixels that a row of tiles is drawn large to, about

Image = np.ndarray[Any, Any]


def network(reading: Reading) -> Section:
    """What can be had of it; what cannot, in a sentence each."""
    key, title, number = "network", "The winner's network", winner(reading)
    if number is None:
        return Section(key=key, title=title, parts=(Text("There is no winner yet."),))
    found = network_of(reading, number)
    parts = [*_scores(reading, found), *_confusion(found), *_first_layer(found)]
    if found.why_not:
        parts.append(Text(found.why_not))
    return Section(key=key, title=title, parts=tuple(parts))


def _scores(reading: Reading, found: Network) -> Iterator[Part]:
    if found.test is not None:
        data = found.test.data
        told = ", ".join(f"{name} {value:.5g}" for name, value in data["metrics"].items())
        yield Text(
            f"On the test part, {data['examples']:,} examples that no decision has seen, number "
            f"{data['number']} has {told}. That was measured once, on "
            f"{found.test.created_at:%Y-%m-%d %H:%M} UTC, and is not measured again."
        )
    elif found.untested:
        yield Text(found.untested)


def _confusion(found: Network) -> Iterator[Part]:
    if found.measured is None or found.measured.confusion is None or found.dataset is None:
        return
    counts, names = np.array(found.measured.confusion), found.dataset.class_names
    share = float(np.trace(counts) / counts.sum())
    folds = found.dataset.num_folds
    each = f", each taken by the network of the fold that held it out, of {folds}," * (folds > 1)
    yield Text(
        f"Of {counts.sum():,} validation examples{each} number {found.number}, as it was in its "
        f"last epoch, takes {100 * share:.2f} % for what they are."
    )
    if len(names) <= MOST_CLASSES:
        yield confusion_panel(counts, names)
    pairs = most_confused(counts, names)
    if len(pairs):
        yield Table(pairs, f"What it confuses most ({len(pairs)} pairs)")


def confusion_panel(counts: Image, names: tuple[str, ...]) -> Panel:
    """A row a true class, each cell the share of its examples that were taken for a class."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    places = tuple((float(i), name) for i, name in enumerate(names))
    upwards = tuple((float(len(names) - 1 - i), name) for i, name in enumerate(names))
    cells = Cells(
        values=[[float(f"{share:.4g}") for share in row] for row in shares[::-1]],
        words=[[str(count) if count else "" for count in row] for row in counts[::-1].tolist()],
        places=[[f"{own} taken for {other}" for other in names] for own in names[::-1]],
    )
    return Panel(
        title="Confusion on the validation part",
        x=Axis(title="taken for", ticks=places),
        y=Axis(title="class", ticks=upwards),
        marks=(),
        cells=cells,
        height=120 + 32 * min(len(names), 18),
        wide=True,
    )


def most_confused(counts: Image, names: tuple[str, ...]) -> pd.DataFrame:
    """The pairs of classes that are confused, the most frequent first."""
    import pandas as pd

    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    rows = [(names[i], names[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
    return pd.DataFrame(rows, columns=["class", "taken for", "examples"])


def _first_layer(found: Network) -> Iterator[Part]:
    if found.weights is None or found.dataset is None:
        return
    image = found.dataset.image
    tiles = None if image is None else first_layer(found.weights, image)
    if tiles is None:
        yield Text("The first layer's weights are no images, for the inputs are none.")
        return
    shown, folds = tiles[:MOST_TILES], found.dataset.num_folds
    fold = f" (the first of its {folds} networks)" * (folds > 1)
    yield PngImage(
        png(enlarged(mosaic(shown))),
        f"First-layer weights of number {found.number}{fold}, {len(shown)} of {len(tiles)} units, "
        "each scaled to its own range. Structure means that it learned something; noise, that it "
        "is trained too little or regularized too weakly.",
    )


def first_layer(weights: Any, image: tuple[int, int, int]) -> Image | None:
    """The first weights as images [units, height, width, 1 or 3], 0 to 1; None if they are none.

    Of a layer over all inputs, [units, C * H * W]; of a convolution, [units, C, h, w]. Channels
    other than 1 or 3 are averaged.
    """
    first = next((tensor for name, tensor in weights.items() if name.endswith("weight")), None)
    if first is None or first.ndim not in (2, 4):
        return None
    if first.ndim == 2:
        if first.shape[1] != np.prod(image):
            return None
        first = first.reshape(len(first), *image)
    if min(first.shape[2:]) < LEAST_SIDE:
        return None
    if first.shape[1] not in (1, 3):
        first = first.mean(axis=1, keepdims=True)
    tiles = first.transpose(0, 2, 3, 1).astype(np.float64)
    low = tiles.min(axis=(1, 2, 3), keepdims=True)
    size = tiles.max(axis=(1, 2, 3), keepdims=True) - low
    scaled: Image = np.divide(tiles - low, size, out=np.full(tiles.shape, 0.5), where=size > 0)
    return scaled


def mosaic(tiles: Image) -> Image:
    """Tiles [n, h, w, c] side by side, a pixel apart, as bytes [H, W, c + 1], the last alpha.

    Between them, and where a row is not full, the theme's paper is seen through.
    """
    num, height, width, channels = tiles.shape
    columns = min(TILES_A_ROW, num)
    rows = -(-num // columns)
    whole = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, channels + 1))
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        whole[top : top + height, left : left + width, :channels] = tile
        whole[top : top + height, left : left + width, channels] = 1.0
    return np.round(whole * 255).astype(np.uint8)


def enlarged(image: Image) -> Image:
    """Each pixel a square, so that no reader blurs them."""
    times = max(1, round(SHOWN_WIDTH / image.shape[1]))
    return image.repeat(min(times, 8), axis=0).repeat(min(times, 8), axis=1)


def png(image: Image) -> bytes:
    """Bytes [H, W, 2 or 4] as a PNG file (ISO/IEC 15948), grey or RGB with alpha."""
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 4 if channels == 2 else 6, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in image)  # 0: the line is as it is
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    sum_of = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + sum_of
