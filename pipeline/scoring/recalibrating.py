"""Calibrating a trained model anew, on healthy scans of another scanner: the story of the command `calibrate`.

The network stays as it is. A new model gets its weights, and a threshold, a surprise and a familiarity that come from
these scans alone. How much the former threshold marks in them tells whether that was needed.
"""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.cohorts import Entry, entries_of, read_datalist
from pipeline.errors import UsageError, reason_of
from pipeline.files import to_printable
from pipeline.model import Model, Run, open_model, pack
from pipeline.scan_warnings import log_warnings, short_names
from pipeline.scans import refuse_shared_scans, without_copies
from pipeline.scoring.calibrating import HealthyScan, calibration_of, refuse_trained_on, score_healthy
from pipeline.scoring.calibration import Calibration, leave_one_out, load_calibration, shares_above
from pipeline.scoring.familiarity import FEWEST_SCANS
from pipeline.scoring.predictor import open_predictor
from pipeline.scoring.provenance import FalsePositives, Provenance, percent
from pipeline.version import __version__

logger = logging.getLogger(__name__)

ENOUGH_SCANS = 20
"""Number of healthy scans below which a warning says how uncertain the threshold is; MELD asks for as many."""

RESULT_SPLITS = ("test", "tune")
"""Splits that results come from: none of their scans may set the threshold."""

TESTED = "a threshold that comes from scans of the test makes its results too good"
"""Why no scan may be in the calibration and in one of these splits."""


@dataclass(frozen=True)
class Recalibration:
    """What came of a calibration anew.

    Attributes:
        output: the new model.
        provenance: where its calibration comes from, with the false positives of the former and the new threshold.
        scans: number of the healthy scans behind it.
        worst_by_former, worst_by_new: names of the scans in which these thresholds mark most.
        failed: the scans that could not be used, each with its reason.
    """

    output: Path
    provenance: Provenance
    scans: int
    worst_by_former: str
    worst_by_new: str
    failed: dict[str, str]

    def summary(self) -> str:
        """Return the false positives of both thresholds as text."""
        found, given = self.provenance, self.scans + len(self.failed)
        number = f"{self.scans} of {given}" if self.failed else f"{self.scans}"
        by_former = "not known, because the model had no calibration"
        by_new = "not known, because no other scan measures it"
        if found.by_former is not None:
            by_former = f"{found.by_former.text} ({self.worst_by_former})"
        if found.by_new is not None:
            by_new = f"{found.by_new.text} ({self.worst_by_new}), by leave-one-out"
        lines = [
            f"calibrated anew on {number} healthy scan{'s' * (given != 1)}. Share of their brains that is marked:",
            f"  asked for         {percent(found.fpr)}",
            f"  former threshold  {by_former}",
            f"  new threshold     {by_new}",
        ]
        if found.by_former is not None and found.by_former.interval is not None:
            lines.append(_verdict(found.by_former.interval, found.fpr))
        return "\n".join(lines)


def recalibrate(
    model: str | Path, data: str | Path, output: str | Path, split: str = "training", device: str | None = None
) -> Recalibration:
    """Write a new model: a trained one with a calibration on other healthy scans.

    Args:
        model: the directory that training wrote, or the zip that `pack` wrote; it stays as it is.
        data: the datalist of the healthy scans; if one has a `label`, only its slices without annotation count.
        output: the folder of the new model, or its zip.
        split: the split of the datalist.
        device: where to compute; if None, the GPU if there is one.

    Raises:
        UsageError: if the model, the scans or the output cannot be used, or if a scan must not set the threshold: the
            model was trained on it, or it is in `test` or `tune` too.
    """
    output = Path(output)
    _check_output(output, Path(model))
    entries = _healthy_entries(data, split)
    with open_model(model) as folder:
        run = Run.at(folder)
        if output.suffix == ".zip" and run.is_former:
            raise UsageError(f"{model}: a former version trained it, so it cannot be packed; give a folder as --output")
        predictor = open_predictor(folder, device, calibrated=False)
        former = load_calibration(folder, predictor.model)
        refuse_trained_on(predictor.model, entries)
        scans, failed = score_healthy(predictor, entries)
        if not scans:
            raise UsageError(f"{data}: none of the {len(entries)} scans of `{split}` can be used")
        _log_warnings(scans, former)
        by_former, by_new = _measure(scans, former, predictor.fpr)
        provenance = Provenance(
            date=datetime.now(UTC).date().isoformat(),
            version=__version__,
            former=former.fingerprint if former else "",
            former_scans=former.scans if former else 0,
            fpr=predictor.fpr,
            by_former=FalsePositives.of(by_former) if len(by_former) else None,
            by_new=FalsePositives.of(by_new) if len(by_new) else None,
        )
        _warn_of_few(len(scans), provenance)
        _write(replace(calibration_of(scans), provenance=provenance), predictor.model, run, output)
    names = short_names([scan.image for scan in scans])
    worst = [to_printable(names[int(shares.argmax())]) if len(shares) else "" for shares in (by_former, by_new)]
    return Recalibration(output, provenance, len(scans), worst[0], worst[1], failed)


def _check_output(output: Path, model: Path) -> None:
    """Refuse an output that is there already, or cannot be made, before anything is computed."""
    try:
        if output.exists() and model.exists() and output.samefile(model):
            raise UsageError(f"{output}: this is the model itself, which stays as it is; give another --output")
        if output.exists() and (not output.is_dir() or output.suffix == ".zip" or any(output.iterdir())):
            raise UsageError(f"{output}: it is there already, and no empty folder; give another --output")
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written ({reason_of(error)})") from error


def _healthy_entries(data: str | Path, split: str) -> list[Entry]:
    """Return the scans of a split, each once; none of them is in a split that results come from."""
    splits = read_datalist(data)
    entries = entries_of(splits, split, data)
    if not entries:
        raise UsageError(f"{data}: it has no scans under `{split}`")
    for other in (other for other in RESULT_SPLITS if other != split):
        refuse_shared_scans(split, other, splits, data, TESTED)
    return without_copies(split, entries)


def _log_warnings(scans: Sequence[HealthyScan], former: Calibration | None) -> None:
    """Log the warnings of the scans; that they differ from those of the former calibration is one of them."""
    names = short_names([scan.image for scan in scans])
    unlike = [former.familiarity.warnings_of(scan.facts) if former else [] for scan in scans]
    warnings = {name: [*scan.warnings, *more] for name, scan, more in zip(names, scans, unlike, strict=True)}
    log_warnings(logger, warnings)


def _measure(scans: Sequence[HealthyScan], former: Calibration | None, fpr: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what the former threshold, and that of the other scans, mark of each scan; empty if not known."""
    counts = [scan.counts for scan in scans]
    by_former = shares_above(former.threshold(fpr), counts) if former else np.empty(0)
    return by_former, leave_one_out(counts, fpr) if len(counts) > 1 else np.empty(0)


def _warn_of_few(scans: int, provenance: Provenance) -> None:
    """Warn of too few scans, and say what can be said with them."""
    if scans >= ENOUGH_SCANS:
        return
    text = f"{scans} healthy scan{'s are' if scans != 1 else ' is'} few, because a single odd one moves the threshold"
    if provenance.by_new is None:
        text += ": how much it marks in other scans is not known"
    else:
        text += (
            f": asked for {percent(provenance.fpr)}, it marks {percent(provenance.by_new.mean)} of another scan on "
            f"average, and over more scans this may be {provenance.by_new.interval_text}"
        )
    if scans < FEWEST_SCANS:
        text += f"; with fewer than {FEWEST_SCANS}, `predict` does not check whether a scan is like them"
    logger.warning("warning: %s; give %d or more", text, ENOUGH_SCANS)


def _write(calibration: Calibration, model: Model, run: Run, output: Path) -> None:
    """Write the new model aside, from the files of the former one and the calibration; move it when it is whole."""
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".partial-") as aside:
            made = Run(Path(aside) / "model")
            for file in run.model_files():
                if file != run.calibration:
                    copy = made.root / file.relative_to(run.root)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
            calibration.save(made.calibration, model)
            if output.suffix == ".zip":
                pack(made.root, output)
                return
            if output.is_dir():
                output.rmdir()  # it is empty; on Windows a folder replaces none
            made.root.rename(output)
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written ({reason_of(error)})") from error


def _verdict(interval: tuple[float, float], fpr: float) -> str:
    """Return whether the former threshold holds for these scans, as far as they tell."""
    low, high = interval
    if low <= fpr <= high:
        return "These scans do not tell whether the former threshold is wrong: its interval includes what is asked for."
    return (
        f"The former threshold marks too {'much' if low > fpr else 'little'} here, so use the new model for such scans."
    )
