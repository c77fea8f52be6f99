"""Pictures: the preview of a case."""

from collections.abc import Hashable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.scoring import ScanScores
from transforms import SLICE_AXES

COLUMNS = 5
"""Slices on a preview."""

ROWS = ("scan", "reconstruction", "recommended")
"""What a preview shows of each slice."""

SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}
"""What is at the left and at the right edge of a picture."""


def write_preview(file: Path, scan: nib.nifti1.Nifti1Image, scores: ScanScores) -> None:
    """Write a PNG of the slices with the highest `recommended`: scan, reconstruction, and the map over the scan.

    Args:
        file: where to write.
        scan: the scan, (X, Y, Z).
        scores: its scores.
    """
    orientation = nib.orientations.io_orientation(scan.affine)
    ras_axis = SLICE_AXES[scores.slice_axis]
    columns, rows = (axis for axis in range(3) if axis != ras_axis)
    spacing = nib.affines.voxel_sizes(scan.affine)[np.argsort(orientation[:, 0])]
    aspect = float(spacing[rows] / spacing[columns])

    def plane(volume: np.ndarray, index: int) -> np.ndarray:
        return upright(volume, scan.affine, scores.scan_axis, index)

    voxels = np.asanyarray(scan.dataobj)
    recommended = scores.maps["recommended"]
    highest = max(float(recommended.max()), 1e-6)
    grey, grey_model = _window(voxels[scores.mask]), _window(scores.reconstruction[scores.mask])
    chosen = _spread(scores.slices)

    # Fixed places: matplotlib's layout engines take longer than all the rest of a case.
    width = 2.1 * max(len(chosen), 2) + 1.1
    figure = Figure(figsize=(width, 7.2), facecolor="black")
    FigureCanvasAgg(figure)
    grid = {"left": 0.3 / width, "right": 1 - 0.8 / width, "top": 0.96, "bottom": 0.04, "wspace": 0.02, "hspace": 0.02}
    panels = figure.subplots(len(ROWS), len(chosen), squeeze=False, gridspec_kw=grid)
    for (top, middle, bottom), index, position in zip(panels.T, chosen["index"], chosen["position_mm"], strict=True):
        image, brain, score = plane(voxels, index), plane(scores.mask, index), plane(recommended, index)
        reconstruction = np.where(brain, plane(scores.reconstruction, index), grey_model["vmin"])
        top.imshow(image, cmap="gray", aspect=aspect, **grey)
        top.set_title(f"slice {index} ({position:.0f} mm)", color="white", fontsize=9)
        middle.imshow(reconstruction, cmap="gray", aspect=aspect, **grey_model)
        bottom.imshow(image, cmap="gray", aspect=aspect, **grey)
        overlay = bottom.imshow(
            score, cmap="inferno", vmin=0, vmax=highest, aspect=aspect, alpha=np.clip(2 * score / highest, 0, 0.8)
        )
        if brain.any() and not brain.all():
            bottom.contour(brain, levels=[0.5], colors="deepskyblue", linewidths=0.5)
    white = {"color": "white", "va": "center"}
    for panel in panels.flat:
        panel.axis("off")
        left, right = SIDES[scores.slice_axis]
        panel.text(0.02, 0.5, left, fontsize=8, transform=panel.transAxes, **white)
        panel.text(0.98, 0.5, right, fontsize=8, transform=panel.transAxes, ha="right", **white)
    for panel, name in zip(panels[:, 0], ROWS, strict=True):
        panel.text(-0.03, 0.5, name, rotation=90, transform=panel.transAxes, ha="right", **white)
    bar = figure.colorbar(overlay, cax=figure.add_axes((1 - 0.7 / width, 0.3, 0.15 / width, 0.4)))
    bar.set_label("recommended", color="white")
    bar.ax.tick_params(colors="white", labelsize=8)
    figure.text(0.5, 0.015, "research use only, not for diagnosis", color="grey", fontsize=8, ha="center")
    figure.savefig(file, dpi=90)


def upright(volume: np.ndarray, affine: np.ndarray, scan_axis: int, index: int) -> np.ndarray:
    """Return a slice of a volume as it is looked at: the patient's right at the left edge, front or top upwards."""
    orientation = nib.orientations.io_orientation(affine)
    ras = nib.orientations.apply_orientation(np.take(volume, [index], axis=scan_axis), orientation)
    return np.take(ras, 0, axis=int(orientation[scan_axis, 0]))[::-1].T[::-1]


def _spread(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the slices to show: those with the highest scores, a twelfth of the brain or more from each other."""
    distance = np.ptp(slices["position_mm"]) / 12
    shown: list[Hashable] = []
    for row, position in slices.sort_values("max_recommended", ascending=False)["position_mm"].items():
        if len(shown) < COLUMNS and (abs(slices.loc[shown, "position_mm"] - position) >= distance).all():
            shown.append(row)
    return slices.loc[shown].sort_values("position_mm")


def _window(values: np.ndarray) -> dict[str, float]:
    """Return the grey levels between which values are shown."""
    low, high = np.percentile(values, (1, 99.5))
    return {"vmin": min(0.0, float(low)), "vmax": float(high)}
