"""Evaluation: a model's scores against annotated lesions, beside baselines without a model.

The story of `evaluate`: each annotated scan is scored once, in two threads, and its voxels are counted into histograms
(metrics.py); two of its maps wait on disk for the thresholds of the lesion-wise figures (lesions.py, froc.py), and its
own page with a viewer is written (cases.py).
"""

import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pipeline.cohorts import Entry, entries_of, read_datalist
from pipeline.errors import UsageError, reason_of
from pipeline.evaluation.baselines import BASELINES, Baselines
from pipeline.evaluation.cases import FOLDER, CasePages, case_names, case_rows, check_pages
from pipeline.evaluation.froc import FROC_SCORES, HEALTHY_SHARES, lesion_metrics
from pipeline.evaluation.gallery import make_gallery
from pipeline.evaluation.lesion_results import LesionMetrics
from pipeline.evaluation.lesions import Lesions, marks_of_case
from pipeline.evaluation.metrics import count_scores
from pipeline.evaluation.page import write_page
from pipeline.evaluation.results import Metrics
from pipeline.evaluation.slices import slice_metrics
from pipeline.evaluation.totals import CaseCounts, Totals
from pipeline.model import Model, open_model
from pipeline.nifti import stem_of, voxel_ml
from pipeline.prediction import ModelLabel, folder_aside
from pipeline.scan_warnings import log_warnings
from pipeline.scans import (
    Case,
    fingerprint_of_cohort,
    read_label,
    refuse_shared_scans,
    scans_with,
    without_copies,
)
from pipeline.scoring import MAPS, Predictor, open_predictor
from transforms import volume_to_slices

logger = logging.getLogger(__name__)


def evaluate(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    split: str = "test",
    device: str | None = None,
    seed: int = 0,
    case_pages: bool = True,
) -> Metrics:
    """Score the annotated scans of a split, and write metrics.json, the tables, the figures and evaluation.html.

    Each scan has a page with a viewer, in the folder `pages`.

    Args:
        model: the directory that training wrote, or a zip of `pack`.
        data: the datalist; its training scans serve the voxelwise baseline.
        output: folder of what is written.
        split: the split whose scans are scored; those without `label` are left out and named.
        device: where to compute; the GPU where there is one when None.
        seed: of the bootstrap and of the splits.
        case_pages: whether each scan gets its page: they need more room on disk than all else.

    Returns:
        All results, which metrics.json keeps.

    Raises:
        UsageError: where the model or the split cannot be used.
    """
    data, output = str(data), str(output)  # the MONAI bundle gives a number for 2024
    splits = read_datalist(data)
    listed = entries_of(splits, split, data)
    if split != "training":
        refuse_shared_scans("training", split, splits, data)
    entries = without_copies(split, [entry for entry in listed if entry.label is not None])
    unlabelled = [_name(entry) for entry in listed if entry.label is None]
    if not entries:
        raise UsageError(f"{data}: no scan of `{split}` has a `label` to compare with")
    if unlabelled:
        logger.warning("left out, for they have no label: %s", ", ".join(unlabelled))
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the output folder cannot be made ({error.strerror})") from error
    if case_pages:
        check_pages(folder / FOLDER)
    with open_model(model) as run:
        predictor = open_predictor(run, device)
    trained = predictor.model
    baselines = Baselines(splits.get("training", []), trained)
    totals, rows, slices, failed = Totals(len(entries), seed, predictor.threshold), [], [], {}
    warnings: dict[int, tuple[str, ...]] = {}
    names, label = case_names(entries), ModelLabel.of(predictor)

    aside = folder_aside(folder / FOLDER) if case_pages else nullcontext()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".maps-") as maps, aside as cases_folder:
        pages = CasePages(cases_folder, label, predictor.threshold) if cases_folder is not None else None

        def work(number: int) -> CaseCounts | str:
            try:
                file = Path(maps) / f"{number}.npz"
                return _score_case(entries[number], names[number], predictor, baselines, file, pages)
            except Exception as error:  # whatever is wrong with one scan, the others go on
                return reason_of(error)

        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            cases = _few_ahead(pool, work, len(entries))
            for number, case in enumerate(tqdm(cases, "evaluating", len(entries), unit="scan", disable=None)):
                if isinstance(case, str):
                    failed[entries[number].images[0]] = case
                    logger.error("failed: %s: %s", entries[number].images[0], case)
                    continue
                rows.append({"number": number, **totals.add(number, case)})
                slices.append(case.slices)
                warnings[number] = case.warnings
        log_warnings(logger, {names[number]: texts for number, texts in warnings.items()})
        if not rows:
            raise UsageError(f"{data}: none of the {len(entries)} scans of `{split}` could be scored")
        table = pd.DataFrame(rows)
        lesions = _lesion_wise(predictor, totals, table, Path(maps))

    table.drop(columns=["number", "voxel_ml"]).to_csv(folder / "cases.csv", index=False)
    slice_table = pd.concat(slices, ignore_index=True)
    slice_table.to_csv(folder / "slices.csv", index=False)
    baseline_metrics = {name: totals.baseline_metrics(name, baselines) for name in BASELINES}
    metrics = Metrics(
        cohort=Path(data).absolute().parent.name,
        split=split,
        model=trained.fingerprint,
        data=fingerprint_of_cohort(listed),
        cases=len(rows),
        without_label=unlabelled,
        failed=failed,
        trained_on=_trained_on(entries, trained),
        slices=slice_metrics(slice_table, totals.active_latents(), trained.kl_is_trained),
        voxels={name: totals.model_metrics(name, trained.kl_is_trained) for name in MAPS},
        baselines=baseline_metrics,
        paired=totals.paired(baseline_metrics),
        lesions=lesions,
    )
    flat = {name: values.to_json() for name, values in (metrics.voxels | metrics.baselines).items()}
    pd.DataFrame.from_dict(flat, orient="index").rename_axis("score").to_csv(folder / "metrics.csv")
    gallery = make_gallery(entries, table, predictor, lesions.threshold)
    write_page(folder, metrics, label, totals.pooled, slice_table, case_rows(table, warnings), gallery, case_pages)
    metrics.write(folder / "metrics.json")
    return metrics


def _few_ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], CaseCounts | str], number: int
) -> Iterator[CaseCounts | str]:
    """Yield the results of work(0), work(1), ... in order, with no more than a few under way or waiting."""
    waiting: deque[Future[CaseCounts | str]] = deque()
    for i in range(number):
        waiting.append(pool.submit(work, i))
        if len(waiting) > 4:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _name(entry: Entry) -> str:
    return stem_of(Path(entry.images[0]).name)


def _trained_on(entries: Sequence[Entry], model: Model) -> list[str] | None:
    """Return the names of the scans that the model was trained on, by what they hold; None where it does not tell."""
    return [_name(entry) for entry in scans_with(model.trained_on, entries)] if model.trained_on else None


def _score_case(
    entry: Entry,
    name: str,
    predictor: Predictor,
    baselines: Baselines,
    file: Path,
    pages: CasePages | None,
) -> CaseCounts:
    """Score one scan, write its page, and leave its label and the maps for FROC curves, cut to the brain, in a file."""
    model, item = predictor.model, predictor.read(Case("", entry))
    prediction = predictor(item)
    scores = prediction.scores
    annotation = read_label(entry, scores.mask)
    label = annotation.voxels
    counted = scores.mask | label
    maps = {**scores.maps, **baselines(item)}
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(counted))
    recommended, same_path = (
        np.where(counted, maps[name], -np.inf)[box] for name in FROC_SCORES
    )  # none marked outside
    np.savez(file, label=label[box], recommended=recommended, intensity_same_path=same_path)

    volume_ml = voxel_ml(item["scan"].affine.numpy())
    in_slice = tuple(axis for axis in range(3) if axis != scores.scan_axis)
    by_slice = {
        "annotated_pixels": label.sum(in_slice)[scores.slices["index"]],
        "max_intensity_same_path": maps["intensity_same_path"].max(in_slice)[scores.slices["index"]],
    }
    images = volume_to_slices(item["image"].as_tensor(), model.settings["slice_axis"])
    brain = volume_to_slices(item["mask"].as_tensor(), model.settings["slice_axis"]).flatten(1).any(1)
    with torch.no_grad():
        mu = torch.cat([model.network.encode(x.to(model.device))[0].cpu() for x in images[brain].split(32)])
    counts = CaseCounts(
        name=name,
        counts={name: count_scores(volume[counted], label[counted]) for name, volume in maps.items()},
        lesion_ml=float(label.sum() * volume_ml),
        outside=int(counted.size - counted.sum()),
        slices=scores.slices.assign(case=name, **by_slice),
        mu=mu.flatten(1).numpy().astype(np.float64),
        voxel_ml=volume_ml,
        warnings=(*annotation.warnings, *prediction.warnings),
    )
    if pages is not None:
        pages.write(name, prediction, label)
    return counts


def _lesion_wise(predictor: Predictor, totals: Totals, table: pd.DataFrame, maps: Path) -> LesionMetrics:
    """Return the lesion-wise metrics, and add each case's to the table."""
    threshold, source = predictor.threshold, f"the calibration on healthy scans, for an fpr of {predictor.fpr:g}"
    if threshold is None:
        threshold = totals.pooled["recommended"].best_threshold()
        source = "the best Dice on these very cases, for the model carries no calibration"
    thresholds = {name: totals.pooled[name].thresholds_at(HEALTHY_SHARES) for name in FROC_SCORES}
    cases = []
    for row in tqdm(table.to_dict("records"), "finding lesions", unit="scan", disable=None):
        with np.load(maps / f"{row['number']}.npz") as file:
            kept = dict(file)
        lesions = Lesions(kept["label"], row["voxel_ml"], predictor.minimum_cluster_ml)
        cases.append(marks_of_case(kept, lesions, threshold, thresholds))
    table["lesions"] = [len(case.volumes_ml) for case in cases]
    table["lesions_hit"] = [int(case.at_threshold.hit.sum()) for case in cases]
    table["false_positives"] = [case.at_threshold.false_clusters for case in cases]
    table["marked_ml"] = [case.at_threshold.marked_ml for case in cases]
    table["dice_at_threshold"] = [case.dice for case in cases]
    table["false_positive_ml"] = [case.at_threshold.false_ml for case in cases]
    return lesion_metrics(cases, threshold, source, thresholds)
