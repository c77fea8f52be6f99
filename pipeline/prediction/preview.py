"""Pictures: the preview of a case, composed of pixels, because a figure of many axes takes longer than the scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from pipeline.nifti import SIDES, upright
from pipeline.pages import RESEARCH_ONLY
from pipeline.prediction.colours import COLOURS, CONTOUR, OPACITY, SHOWN, grey_window
from pipeline.scoring import ScanScores
from transforms import SLICE_AXES

COLUMNS = 5
"""Slices on a preview."""

LARGEST = (250, 330)
"""Largest width and height of a panel, pixels."""
ALONE = (400, 460)
"""Largest width and height of a panel if there is one slice only, pixels."""
SMALLEST = (110, 150)
"""Smallest width and height of a panel, pixels: a smaller slice has black around it."""

THUMBNAIL = 96
"""Longer side of the thumbnail, pixels, at most."""

GAP, LEFT, TOP, BOTTOM, BAR = 6, 22, 30, 60, 138
"""Pixels between panels, at the left, above and below them, and for the colour bar at the right."""
LINE = 20
"""Pixels from one line of text to the next."""
NARROWEST = 600
"""Smallest width of the whole picture, pixels."""


@dataclass(frozen=True)
class Preview:
    """The pictures of a case.

    Attributes:
        picture: the preview as a whole.
        overlay: the part of it with the overlay of the most surprising slice.
    """

    picture: Image.Image
    overlay: Image.Image


def write_preview(
    folder: Path,
    case: str,
    scan: nib.nifti1.Nifti1Image,
    scores: ScanScores,
    surprise: np.ndarray | None = None,
    model: Sequence[str] = (),
) -> None:
    """Write CASE_preview.png, and CASE_thumbnail.jpg with the most surprising slice alone.

    Args:
        folder: where to write.
        case: the name that the files begin with.
        scan: the scan, (X, Y, Z).
        scores: its scores.
        surprise: (X, Y, Z); without it, `recommended` is shown instead.
        model: lines that say which model made it.
    """
    preview = draw_preview(scan, scores, surprise, model)
    preview.picture.save(folder / f"{case}_preview.png", compress_level=3)
    preview.overlay.thumbnail((THUMBNAIL, THUMBNAIL))
    preview.overlay.save(folder / f"{case}_thumbnail.jpg", quality=85)


def draw_preview(
    scan: nib.nifti1.Nifti1Image,
    scores: ScanScores,
    surprise: np.ndarray | None = None,
    model: Sequence[str] = (),
) -> Preview:
    """Draw the slices with the highest scores: scan, reconstruction, and the surprise over the scan.

    The arguments are those of `write_preview`.
    """
    recommended = scores.maps["recommended"]
    name, overlay, shown = "surprise", surprise, SHOWN
    if overlay is None:
        name, overlay, shown = "recommended", recommended, (0.0, max(float(recommended.max()), 1e-6))
    slices = _spread(scores.slices)
    volumes = [np.asanyarray(scan.dataobj), scores.reconstruction, scores.mask, overlay]
    cut = [[upright(volume, scan.affine, scores.scan_axis, i) for volume in volumes] for i in slices["index"]]
    planes = np.nan_to_num(np.array(cut, np.float32), posinf=0, neginf=0)
    windows = [grey_window(planes[:, i][planes[:, 2] > 0]) for i in (0, 1)]
    planes = planes[:, :, *_head(planes, windows[0][1])]
    size = _panel_size(planes.shape[2:], _spacing(scan, scores.slice_axis), alone=len(slices) == 1)
    panels = [panel for slice_planes in planes for panel in _panels(slice_planes, windows, shown, size)]
    width, height = panels[0].size

    headings = [f"slice {i}, {mm:+.0f} mm" for i, mm in zip(slices["index"], slices["position_mm"], strict=True)]
    picture, places = _mosaic(panels, headings, ["scan", "reconstruction", name], SIDES[scores.slice_axis], len(model))
    x, y = places[-1]
    _draw_legend(picture, (x + width + 2 * GAP, y + 24, y + height), name, shown, model)

    x, y = places[3 * int(slices["max_recommended"].to_numpy().argmax()) + 2]
    return Preview(picture, picture.crop((x, y, x + width, y + height)))


# --- which slices, of which size


def _spread(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the slices to show: those with the highest scores, a twelfth of the brain or more from each other."""
    position = slices["position_mm"].to_numpy()
    shown: list[int] = []
    for row in np.argsort(-slices["max_recommended"].to_numpy(), kind="stable"):
        if len(shown) < COLUMNS and (abs(position[shown] - position[row]) >= np.ptp(position) / 12).all():
            shown.append(int(row))
    return slices.iloc[shown].sort_values("position_mm")


def _head(planes: np.ndarray, white: float) -> tuple[slice, slice]:
    """Return the rows and columns where anything is to be seen in one of the slices, and a margin."""
    seen = ((planes[:, 0] > 0.05 * white) | (planes[:, 2] > 0)).any(axis=0)
    seen = seen if seen.any() else ~seen

    def box(along: np.ndarray) -> slice:
        places = np.flatnonzero(along)
        margin = 2 + np.ptp(places) // 25
        return slice(max(places[0] - margin, 0), places[-1] + 1 + margin)

    return box(np.any(seen, axis=1)), box(np.any(seen, axis=0))


def _spacing(scan: nib.nifti1.Nifti1Image, slice_axis: str) -> tuple[float, float]:
    """Return the millimetres between the columns and between the rows of an upright slice."""
    ras_axes = nib.orientations.io_orientation(scan.affine)[:, 0]
    spacing = nib.affines.voxel_sizes(scan.affine)[np.argsort(ras_axes)]
    columns, rows = (axis for axis in range(3) if axis != SLICE_AXES[slice_axis])
    return float(spacing[columns]), float(spacing[rows])


def _panel_size(shape: tuple[int, ...], spacing: tuple[float, float], alone: bool) -> tuple[int, int]:
    """Return the width and height in pixels at which a slice of a shape (rows, columns) is shown."""
    width, height = shape[1] * spacing[0], shape[0] * spacing[1]
    largest = ALONE if alone else LARGEST
    scale = min(largest[0] / width, largest[1] / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


# --- the panels of one slice


def _panels(
    planes: np.ndarray, windows: list[tuple[float, float]], shown: tuple[float, float], size: tuple[int, int]
) -> list[Image.Image]:
    """Return the panels of scan, reconstruction and overlay, given their planes and that of the mask."""
    image, reconstruction, inside, overlay = (
        np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)) for plane in planes
    )
    brain = inside >= 0.5
    scan = _grey(image, windows[0])
    model = np.where(brain[..., None], _grey(reconstruction, windows[1]), np.uint8(0))
    blended = _blended(scan, (overlay - shown[0]) / (shown[1] - shown[0]))
    blended[brain & ~binary_erosion(brain, border_value=1)] = CONTOUR
    around = [max(least - n, 0) for least, n in zip(SMALLEST[::-1], brain.shape, strict=True)]
    padding = [(n // 2, n - n // 2) for n in around] + [(0, 0)]
    return [Image.fromarray(np.pad(panel, padding)) for panel in (scan, model, blended)]


def _grey(plane: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Return a plane (height, width) as grey levels (height, width, 3) in uint8."""
    low, high = window
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _blended(grey: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return a picture (height, width, 3) under the colours of places (height, width) in the shown range."""
    red, green, blue, opacity = (np.interp(place, COLOURS[:, 0], channel) for channel in COLOURS[:, 1:].T)
    opacity = (OPACITY * opacity / 255)[..., None]
    return ((1 - opacity) * grey + opacity * np.stack([red, green, blue], axis=2)).astype(np.uint8)


# --- all of them, and what is written on a preview


def _mosaic(
    panels: list[Image.Image], headings: list[str], names: list[str], sides: tuple[str, str], lines: int
) -> tuple[Image.Image, list[tuple[int, int]]]:
    """Return a picture of the panels, three for each slice, and the places of their upper left corners.

    Below the panels there is room for so many lines about the model.
    """
    # A column for each slice, with the names at the left; a single slice lies in a row, with the names above.
    columns, rows, left = len(headings), len(names), GAP + LEFT
    if columns == 1:
        columns, rows, left, headings, names = rows, 1, GAP, [f"{names[0]}, {headings[0]}", *names[1:]], []
    width, height = panels[0].size
    places = [(left + i * (width + GAP), TOP + j * (height + GAP)) for i in range(columns) for j in range(rows)]
    x, y = places[-1]
    picture = Image.new("RGB", (max(x + width + BAR, NARROWEST), y + height + BOTTOM + lines * LINE))
    draw = ImageDraw.Draw(picture)
    for (x, y), panel in zip(places, panels, strict=True):
        picture.paste(panel, (x, y))
        _write(draw, (x + 4, y + height // 2), sides[0], "lm")
        _write(draw, (x + width - 4, y + height // 2), sides[1], "rm")
    for (x, _), heading in zip(places[::rows], headings, strict=True):
        _write(draw, (x + width // 2, TOP // 2), heading, "mm")
    for (_, y), name in zip(places, names, strict=False):
        _write_upwards(picture, (GAP, y + height // 2), name)
    return picture, places


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, anchor: str, size: int = 14, fill: str = "white"
) -> None:
    draw.text(place, text, fill, _font(size), anchor, stroke_width=2, stroke_fill="black")


def _write_upwards(picture: Image.Image, place: tuple[int, int], text: str) -> None:
    """Write a text that reads from below: from x on, around y."""
    length = int(_font(14).getlength(text)) + 8
    line = Image.new("RGB", (length, 18))
    _write(ImageDraw.Draw(line), (length // 2, 9), text, "mm")
    picture.paste(line.rotate(90, expand=True), (place[0], place[1] - length // 2))


def _draw_legend(
    picture: Image.Image, place: tuple[int, int, int], name: str, shown: tuple[float, float], model: Sequence[str]
) -> None:
    """Draw the colour bar, at x from top to bottom, and below the panels how it is read and what it is not for."""
    x, top, bottom = place
    ramp = np.repeat(np.linspace(1, 0, bottom - top)[:, None], 14, axis=1)
    picture.paste(Image.fromarray(_blended(np.full((*ramp.shape, 3), 40, np.uint8), ramp)), (x, top))
    draw = ImageDraw.Draw(picture)
    _write(draw, (x, top - 22), name, "la")
    for part, value in zip(np.linspace(0, 1, 4), np.linspace(*shown, 4), strict=True):
        y = round(bottom - 1 - (bottom - top - 1) * part)
        draw.line((x + 14, y, x + 18, y), "white")
        meaning = f"{value:.0f}: 1 in {10**value:,.0f}".replace(",", " ") if name == "surprise" else f"{value:.3g}"
        _write(draw, (x + 22, min(max(y, top + 6), bottom - 6)), meaning, "lm", 13)
    hint = {
        "surprise": "surprise 2 = only 1 voxel in 100 of a healthy brain scores as high",
        "recommended": "not calibrated: do not compare the colours of different scans",
    }[name]
    middle, end = picture.width // 2, picture.height
    lines = [f"{hint}; blue: edge of the brain mask", *model, RESEARCH_ONLY]
    for i, line in enumerate(reversed(lines)):
        _write(draw, (middle, end - 18 - LINE * i), line, "mm", 13, "lightgrey" if i == len(model) + 1 else "darkgrey")
