"""The page of one case: a viewer of its scan and maps, and the table of its clusters.

A page that is opened from disk may not fetch files, so each volume is a script beside the page with the file in base64.
All volumes lie on one grid: the scan's own voxels, flipped and exchanged so that their axes run to the right, front and
top, and cropped to what is to be seen. Nothing is resampled.
"""

import base64
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nibabel as nib
import numpy as np
from isal import igzip

from pipeline.files import written_aside
from pipeline.pages import render
from pipeline.prediction.colours import COLOURS, OPACITY, SHOWN, grey_window
from pipeline.prediction.model_label import ModelLabel
from pipeline.scoring import Cluster, Findings, Prediction

VIEWER_FILES = "viewer_files"
"""Folder of the outputs with the scripts that all pages of cases share."""

SCRIPTS = ("niivue.umd.js", "NIIVUE_LICENSE.txt", "viewer.js")
"""What is in it."""

LEVELS = 4095
"""Steps between the darkest and the brightest value of the scan that a page keeps, if they are not whole numbers."""

BRIGHTEST = 8
"""Values above so many times the 99.9th percentile are artefacts: they would leave few levels to the rest."""

AIR = 0.05
"""Share of the brightest tissue below which a voxel outside the brain is air."""

STEPS = 255
"""Steps of a map's values that a page keeps."""

LARGEST = 200
"""Clusters that a page has in its table, at most; the others are in CASE_clusters.csv."""

MARGIN = 3
"""Voxels around what is to be seen."""

LINKED = {"_preview.png": "preview", ".itksnap": "ITK-SNAP", "_clusters.csv": "clusters", "_slices.csv": "slices"}
"""Endings of the files of a case that its page links, with the words of the links."""


def copy_viewer(output: Path) -> None:
    """Copy the scripts that the pages share, and the licence of NiiVue, into the folder of the outputs."""
    folder = output / VIEWER_FILES
    folder.mkdir(exist_ok=True)
    for name in SCRIPTS:
        with written_aside(folder / name) as partial:
            shutil.copyfile(Path(__file__).parent / VIEWER_FILES / name, partial)


@dataclass(frozen=True)
class Home:
    """The page that the page of a case leads back to.

    Attributes:
        address: its address, from the page of a case.
        words: what the link says.
    """

    address: str = "../report.html"
    words: str = "All scans"


def write_viewer(
    folder: Path,
    case: str,
    image: nib.nifti1.Nifti1Image,
    prediction: Prediction,
    label: ModelLabel,
    threshold: float | None,
    lesion: np.ndarray | None = None,
    home: Home = Home(),
) -> None:
    """Write CASE_viewer.html, and a script for each of its volumes.

    Args:
        folder: where to write; the other files of the case are there.
        case: the start of the files' names.
        image: the scan, (X, Y, Z), in memory.
        prediction: its prediction.
        label: which model made it.
        threshold: the lowest value of `recommended` that is marked, None without calibration.
        lesion: the annotated lesions, boolean (X, Y, Z), whose outline is drawn; None if nobody has annotated the scan.
        home: the page that it leads back to.
    """
    findings, scores = prediction.findings, prediction.scores
    scan = np.nan_to_num(np.asarray(image.dataobj, np.float32), posinf=0, neginf=0)
    black, white = grey_window(scan[scores.mask])
    seen = scores.mask | (scan > AIR * white)
    grid = _Grid.around(seen if lesion is None else seen | lesion, image.affine)
    usual = float(np.percentile(scan[::2, ::2, ::2], 99.9))  # every eighth voxel tells it as well
    low, high = float(scan.min()), min(float(scan.max()), BRIGHTEST * usual)
    whole = np.array_equal(scan, np.rint(scan)) and high - low <= LEVELS
    volumes: dict[str, dict[str, Any]] = {"scan": {"shown": (black, max(white, black + 1e-6))}}
    files = {"scan": grid.nifti(scan, low, high, round(high - low) if whole else LEVELS, np.int16)}
    recommended = scores.maps["recommended"]
    highest = max(float(recommended.max()), 1e-6)
    if findings is not None:
        top = max(findings.max_surprise, SHOWN[1])
        volumes["surprise"] = {"shown": SHOWN, "range": (0.0, top)}
        files["surprise"] = grid.nifti(findings.surprise, 0.0, top, STEPS, np.uint8)
    volumes["recommended"] = {"shown": (min((threshold or 0.0) / 2, highest / 2), highest), "range": (0.0, highest)}
    files["recommended"] = grid.nifti(recommended, 0.0, highest, STEPS, np.uint8)
    volumes["outlines"] = {}
    files["outlines"] = grid.outlines(scores.mask, findings, lesion)
    for name, content in files.items():
        script = f"{case}_viewer_{name}.js"
        volumes[name]["source"] = quote(script)
        text = f'cevaeVolume("{name}","{base64.b64encode(content).decode()}");\n'
        (folder / script).write_text(text, encoding="ascii")
    clusters = findings.clusters if findings is not None else ()
    has_lesion = lesion is not None and bool(lesion.any())
    data = {
        "shape": grid.shape,
        "affine": grid.affine[:3].tolist(),
        "first": "surprise" if findings is not None else "recommended",
        "volumes": volumes,
        "colours": _colour_map(),
        "start": _start(grid, lesion if has_lesion else None, clusters),
        "clusters": [{"cluster": one.cluster, "peak": grid.voxel_of(one.peak_ras_mm)} for one in clusters[:LARGEST]],
    }
    page = render(
        "prediction/case.html.j2",
        title=case,
        case=case,
        data=data,
        opacity=OPACITY,
        clusters=clusters,
        maps=[name for name in ("surprise", "recommended") if name in volumes],
        warnings=prediction.warnings,
        label=label,
        home=home,
        has_lesion=has_lesion,
        calibrated=findings is not None,
        largest=LARGEST,
        viewer_files=VIEWER_FILES,
        files={ending: words for ending, words in LINKED.items() if (folder / f"{case}{ending}").exists()},
    )
    (folder / f"{case}_viewer.html").write_text(page, encoding="utf-8", errors="replace")


class _Grid:
    """The voxels that a page shows: those of a box of the scan, with axes to the right, front and top.

    Args:
        affine: the affine of the scan, (4, 4).
        box: the part of the scan.
    """

    def __init__(self, affine: np.ndarray, box: tuple[slice, ...]) -> None:
        self.box = box
        self.order = nib.orientations.io_orientation(affine)
        start = np.eye(4)
        start[:3, 3] = [side.start for side in box]
        cropped = tuple(side.stop - side.start for side in box)
        self.affine = affine @ start @ nib.orientations.inv_ornt_aff(self.order, cropped)
        self.shape = [int(n) for n in np.asarray(cropped)[np.argsort(self.order[:, 0])]]

    @classmethod
    def around(cls, seen: np.ndarray, affine: np.ndarray) -> "_Grid":
        """Return the grid of what is to be seen, boolean (X, Y, Z)."""
        box = []
        for axis in range(3):
            places = np.flatnonzero(seen.any(tuple(other for other in range(3) if other != axis)))
            box.append(slice(max(int(places[0]) - MARGIN, 0), min(int(places[-1]) + 1 + MARGIN, seen.shape[axis])))
        return cls(affine, tuple(box))

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """Return the voxels of a volume on this grid."""
        return nib.orientations.apply_orientation(volume[self.box], self.order)

    def voxel_of(self, ras_mm: tuple[float, float, float]) -> list[int]:
        """Return the voxel of a place."""
        return [int(i) for i in np.rint(np.linalg.inv(self.affine) @ [*ras_mm, 1])[:3]]

    def nifti(self, volume: np.ndarray, low: float, high: float, steps: int, dtype: type) -> bytes:
        """Return a volume as .nii.gz whose values between low and high are told by whole numbers."""
        step = (high - low) / max(steps, 1) or 1.0
        whole = np.rint((np.clip(self.cut(volume), low, high) - low) / step)
        image = nib.nifti1.Nifti1Image(whole.astype(dtype), self.affine)
        image.header.set_slope_inter(step, low)
        image.header.set_xyzt_units("mm")
        return _gzip(image.to_bytes())

    def outlines(self, mask: np.ndarray, findings: Findings | None, lesion: np.ndarray | None) -> bytes:
        """Return what each voxel is, in uint16, the first axis fastest.

        It is the sum of 1 in the brain, 2 in a lesion, and four times the number of the cluster.
        """
        numbers = mask.astype(np.uint16)
        if lesion is not None:
            numbers += 2 * lesion.astype(np.uint16)
        if findings is not None:
            numbers += 4 * np.where(findings.cluster_map < 1 << 14, findings.cluster_map, 0).astype(np.uint16)
        return _gzip(self.cut(numbers).astype("<u2").tobytes(order="F"))


def _start(grid: _Grid, lesion: np.ndarray | None, clusters: Sequence[Cluster]) -> list[int]:
    """Return the voxel that is shown first: the middle of the lesions, else the first cluster's peak, or the middle."""
    if lesion is not None:
        places = np.argwhere(grid.cut(lesion))
        nearest = np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()  # the middle itself may be healthy
        return [int(i) for i in places[nearest]]
    return grid.voxel_of(clusters[0].peak_ras_mm) if clusters else [n // 2 for n in grid.shape]


def _gzip(content: bytes) -> bytes:
    return igzip.compress(content, 2)


def _colour_map() -> dict[str, list[int]]:
    """Return the colours of overlays in the form of NiiVue."""
    places, red, green, blue, opacity = COLOURS.T
    return {
        "R": red.astype(int).tolist(), "G": green.astype(int).tolist(), "B": blue.astype(int).tolist(),
        "A": opacity.astype(int).tolist(), "I": np.rint(255 * places).astype(int).tolist(),
    }  # fmt: skip
