"""What the files of a BIDS derivative dataset say: the sidecar of each map, the tables and their columns."""

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.prediction.bids_names import BidsName
from pipeline.prediction.meanings import DESCRIPTIONS
from pipeline.prediction.results import Record, Result, without_formula


@dataclass(frozen=True)
class Derivative:
    """A map of a case as a file of the dataset.

    Attributes:
        suffix: "mask", "dseg", or "statmap" for a score: the specification has no suffix for it, and statmap is the
            common one, so .bidsignore names it.
        description: its `desc`, which the sequence of the scan follows if there are several.
        label: its `label`, what a mask is of; empty for other files.
        facts: what its sidecar says of its values.
    """

    suffix: str
    description: str
    label: str
    facts: Mapping[str, Any]

    def file(self, name: BidsName, ending: str = ".nii.gz") -> str:
        """Return its path in the dataset."""
        label = f"_label-{self.label}" if self.label else ""
        return f"{name.folder}/{name.start}{label}_desc-{self.desc(name)}_{self.suffix}{ending}"

    def desc(self, name: BidsName) -> str:
        """Return the value of its entity `desc`."""
        return self.description + name.sequence


SCORES = {"recommended": "arbitrary", "surprise": "-log10(share)", "combined": "arbitrary", "rec": "arbitrary",
          "kl": "arbitrary"}  # fmt: skip
"""The units of the scores."""


def _facts(name: str, **more: Any) -> dict[str, Any]:
    return {"Description": DESCRIPTIONS[name]} | more


DERIVATIVES = {name: Derivative("statmap", name, "", _facts(name, Units=units)) for name, units in SCORES.items()} | {
    "brain": Derivative("mask", "cevae", "brain", _facts("brain", Type="Brain")),
    "clusters": Derivative("dseg", "cevae", "", _facts("clusters", Manual=False)),
    "anomalies": Derivative("mask", "cevae", "lesion", _facts("anomalies", Type="Lesion", Manual=False)),
}
"""The maps of a case by their names in its folder. The lesion mask is the last one that is put into place."""

MM = {"Units": "mm"}
CLUSTER_COLUMNS = {
    "volume_ml": {"Description": "Volume", "Units": "mL"},
    "centre_x_mm": {"Description": "Centre of mass, to the patient's right"} | MM,
    "centre_y_mm": {"Description": "Centre of mass, to the front"} | MM,
    "centre_z_mm": {"Description": "Centre of mass, to the top"} | MM,
    "peak_x_mm": {"Description": "Voxel with the highest recommended score, to the patient's right"} | MM,
    "peak_y_mm": {"Description": "The same, to the front"} | MM,
    "peak_z_mm": {"Description": "The same, to the top"} | MM,
    "side": {"Description": "Side of the brain's middle; both if less than 90 % of the voxels are on one"},
    "peak_recommended": {"Description": "Highest recommended score"},
    "mean_recommended": {"Description": "Mean recommended score"},
    "max_surprise": {"Description": "Highest surprise"},
    "slices": {"Description": "First and last slice, counted from 0 as the file stores them"},
    "touches_brain_border": {"Description": "True if a neighbour of one of its voxels lies outside the brain mask"},
}
"""Columns of the table beside the clusters, after `index` and `name`, which BIDS asks for and describes itself."""

CASE_COLUMNS = {
    "participant_id": {"Description": "Subject in this dataset"},
    "case": {"Description": "Name of the case, and of its folder in `cases` and its row in summary.csv"},
    "folder": {"Description": "Folder of its files in this dataset; n/a if it is not done"},
    "start": {"Description": "What the names of its files begin with"},
    "sequence": {"Description": "What follows the description in their `desc`"},
    "source": {"Description": "The scan, as BIDS URI"},
    "status": {"Description": "done, failed or not done"},
    "reason": {"Description": "Why it is not done"},
    "warnings": {"Description": "Warnings about the scan"},
    "anomaly_ml": {"Description": "Volume that passes the threshold", "Units": "mL"},
    "clusters": {"Description": "Number of its connected parts"},
    "largest_cluster_ml": {"Description": "Volume of the largest part", "Units": "mL"},
    "largest_cluster_ras_mm": {"Description": "Centre of the largest part: right, front and top, in mm"},
    "max_surprise": {"Description": "The highest surprise"},
}
"""Columns of the table of all cases."""


def sidecar(derivative: Derivative, name: BidsName, record: Record, source: str, copy: str) -> dict[str, Any]:
    """Return what the sidecar of a map says.

    Args:
        derivative: the map.
        name: the name of its case.
        record: the record of its case.
        source: the BIDS URI of the scan.
        copy: the BIDS URI of the copy of the scan in the case's folder.
    """
    content: dict[str, Any] = dict(derivative.facts)
    content |= {"Sources": [source], "SpatialReference": copy if "_space-" in name.start else "orig"}
    if derivative.suffix == "statmap":  # scores are 0 outside the mask
        content["SkullStripped"] = record.brain is None or record.brain.origin != "head"
    if derivative.label == "brain" and record.brain is not None:
        content["MaskOrigin"] = record.brain.origin
    if derivative.description == "cevae" and derivative.label != "brain" and record.marking is not None:
        marking = record.marking
        content |= {
            "FalsePositiveRate": marking.fpr,
            "Threshold": marking.threshold and float(f"{marking.threshold:.6g}"),
            "MinimumClusterVolume": marking.minimum_cluster_ml,
        }
    if record.marking is not None:
        content["Model"] = record.marking.model
    content |= {"ModelSHA256": record.hashes.model, "Warnings": list(record.result.warnings)}
    if derivative.suffix == "dseg":
        content |= CLUSTER_COLUMNS
    return content


def clusters_table(file: Path) -> str:
    """Return the table of a case's clusters as that of a segmentation."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [{"index": row["cluster"], "name": f"cluster {row['cluster']}", **row} for row in csv.DictReader(stream)]
    return tsv(rows, ("index", "name", *CLUSTER_COLUMNS))


def cases_table(
    results: Sequence[Result], placed: Collection[str], names: Mapping[str, BidsName], sources: Mapping[str, str]
) -> str:
    """Return the table of all cases; one that is not placed in the dataset has no folder."""
    rows = []
    for result in results:
        name = names[result.case]
        place = asdict(name) if result.case in placed else {}
        row = {"participant_id": name.subject, **place, "source": sources.get(result.case)}
        rows.append(asdict(result) | {"warnings": "; ".join(result.warnings)} | row)
    return tsv(rows, CASE_COLUMNS)


def descriptions_table(names: Iterable[BidsName]) -> str:
    """Return the table of the values of `desc`, given the names of the cases that have files."""
    texts = DESCRIPTIONS | {"cevae": "Masks and segmentation of the ceVAE"}
    rows = {
        (derivative.desc(name), texts[derivative.description], name.sequence)
        for name in names
        for derivative in DERIVATIVES.values()
    }
    described = [
        (f"desc-{desc}", f"{text}, {sequence} image" if sequence else text) for desc, text, sequence in sorted(rows)
    ]
    return tsv([{"desc_id": desc, "description": text} for desc, text in described], ("desc_id", "description"))


def tsv(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Return rows as a table of BIDS: tabs between the values, no quotes, n/a for what is not known."""
    columns = list(columns)
    lines = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _text(value: Any) -> str:
    if value is None or value == "" or value != value:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(without_formula(value)).split())
