"""The cases of an evaluation: the page of each with a viewer, and their table, the worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from pipeline.cohorts import Entry
from pipeline.errors import UsageError
from pipeline.files import to_printable
from pipeline.nifti import copy_of
from pipeline.prediction import VIEWER_FILES, Home, ModelLabel, copy_viewer, folder_aside, write_preview, write_viewer
from pipeline.scans import names_of
from pipeline.scoring import Prediction

FOLDER = "pages"
"""The folder of an evaluation that has a folder for each case."""

HOME = Home("../../evaluation.html", "Evaluation")
"""Where the page of a case leads back to."""


@dataclass(frozen=True)
class CaseRow:
    """A case in the table; numbers are None if they are unknown.

    Attributes:
        name: its name.
        ap, best_dice: of `recommended`; None without lesion.
        dice: Dice of what is marked at the threshold; None without lesion and without anything marked.
        lesion_ml, marked_ml: volumes, ml.
        lesions, lesions_hit: numbers of connected lesions, and of those that a marked cluster touches.
        false_clusters: number of marked clusters that touch no lesion.
        warnings: warnings about its scan, each a sentence.
    """

    name: str
    ap: float | None
    best_dice: float | None
    dice: float | None
    lesion_ml: float
    marked_ml: float
    lesions: int
    lesions_hit: int
    false_clusters: int
    warnings: tuple[str, ...] = ()


def case_names(entries: Sequence[Entry]) -> list[str]:
    """Return a distinct name for each scan, which is safe as a folder's."""
    files = [entry.images[0] for entry in entries]
    return names_of(list(map(Path, files)), [f"{i} {file}" for i, file in enumerate(files)])


class CasePages:
    """Writes the page of each case: a viewer of its scan and maps with the outline of its lesions, and its picture.

    Args:
        folder: the folder of all cases.
        label: which model makes the maps.
        threshold: the lowest value of `recommended` that is marked, None without calibration.
    """

    def __init__(self, folder: Path, label: ModelLabel, threshold: float | None) -> None:
        self.folder, self.label, self.threshold = folder, label, threshold
        copy_viewer(folder)

    def write(self, name: str, prediction: Prediction, lesion: np.ndarray) -> None:
        """Write the page of a case.

        Args:
            name: of the case, and of its folder.
            prediction: the prediction of the scan.
            lesion: the annotated lesions, boolean (X, Y, Z).
        """
        surprise = prediction.findings.surprise if prediction.findings is not None else None
        image = copy_of(prediction.source)
        with folder_aside(self.folder / name) as folder:
            write_preview(folder, name, image, prediction.scores, surprise, self.label.lines)
            (folder / f"{name}_thumbnail.jpg").unlink()
            write_viewer(folder, name, image, prediction, self.label, self.threshold, lesion, HOME)


def check_pages(folder: Path) -> None:
    """Check that a folder, which the pages will replace, has nothing but pages of an earlier evaluation.

    Raises:
        UsageError: if it has.
    """
    for one in folder.iterdir() if folder.is_dir() else ():
        ours = (one / f"{one.name}_viewer.html").is_file() and not (one / "case.json").exists()
        if one.name != VIEWER_FILES and not ours:
            raise UsageError(f"{folder} has other files ({to_printable(one.name)}); give another --output")


def page_of(name: str) -> str:
    """Return the address of a case's page from that of the evaluation."""
    return f"{FOLDER}/{quote(name)}/{quote(name)}_viewer.html"


def case_rows(table: pd.DataFrame, warnings: Mapping[int, Sequence[str]]) -> list[CaseRow]:
    """Return the rows of the table on the page, the lowest AP first, and last those without lesion.

    Args:
        table: the metrics of the cases, with the number of each one's entry.
        warnings: about the scan of each entry, by its number.
    """
    rows = [
        CaseRow(
            name=str(case["case"]),
            ap=_known(case.get("recommended_ap")),
            best_dice=_known(case.get("recommended_best_dice")),
            dice=_known(case["dice_at_threshold"]),
            lesion_ml=float(case["lesion_ml"]),
            marked_ml=float(case["marked_ml"]),
            lesions=int(case["lesions"]),
            lesions_hit=int(case["lesions_hit"]),
            false_clusters=int(case["false_positives"]),
            warnings=tuple(warnings.get(int(case["number"]), ())),
        )
        for case in table.to_dict("records")
    ]
    return sorted(rows, key=lambda row: (row.ap is None, row.ap or 0.0, -row.marked_ml))


def _known(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
