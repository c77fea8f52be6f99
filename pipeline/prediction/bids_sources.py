"""Where a BIDS derivative dataset comes from: its description, the datasets of its scans, and the URIs of these."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.files import to_printable, write_json
from pipeline.prediction.model_label import ModelLabel
from pipeline.scans import DESCRIPTION_FILE, dataset_of
from pipeline.version import __version__

TOOL = "brain-mri-cevae"
"""Name of this program in `GeneratedBy`, by which it knows the datasets that it made."""

METHOD = "Unsupervised anomaly maps with the context-encoding variational autoencoder (Zimmerer et al. 2019)"

FIRST = {"Name": "Anomaly maps of brain MRI", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
"""What a description says at first; a person may change the name."""


def description_of(dataset: Path) -> dict[str, Any]:
    """Return what a dataset says of itself; nothing if it cannot be read."""
    try:
        content = json.loads((dataset / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_made_here(description: Mapping[str, Any]) -> bool:
    """Return whether this program made a dataset, by its description."""
    made_by = description.get("GeneratedBy")
    return isinstance(made_by, list) and any(isinstance(one, dict) and one.get("Name") == TOOL for one in made_by)


class Sources:
    """The datasets of scans, each with a name for URIs and its path from the output.

    A path by way of the root of the disk would tell as much of the machine as an absolute one. So such a dataset is not
    named, and the copies of its scans in the cases' folders are the sources.

    Args:
        output: the root of the derivative dataset.
        scans: the paths of the scans.
    """

    def __init__(self, output: Path, scans: Iterable[str]) -> None:
        known = description_of(output).get("DatasetLinks")
        self.links: dict[str, str] = dict(known) if isinstance(known, dict) else {}  # sidecars refer to them
        self.names: dict[Path, str] = {}
        for dataset in sorted({dataset for scan in scans if (dataset := dataset_of(Path(scan)))}):
            path = _path_from(output.resolve(), dataset.resolve())
            if path is None:
                continue
            name = re.sub("[^0-9a-zA-Z]", "-", dataset.name)
            while self.links.get(name, path) != path:
                name += "-2"
            self.links[name], self.names[dataset] = path, name

    def uri_of(self, scan: str, copy: str) -> str:
        """Return the BIDS URI of a scan in its dataset, or that of its copy."""
        dataset = dataset_of(Path(scan))
        if dataset is None or dataset not in self.names:
            return copy
        return uri(self.names[dataset], Path(scan).relative_to(dataset).as_posix())

    def write_description(self, output: Path, label: ModelLabel) -> None:
        """Write dataset_description.json; what a person added to it stays.

        Args:
            output: the root of the derivative dataset.
            label: the model of the last command.
        """
        model = "; ".join(f"{term}: {words}" for term, words in label.facts)
        made_by = {"Name": TOOL, "Version": __version__, "Description": f"{METHOD}. {model}. Research only."}
        content: dict[str, Any] = {"GeneratedBy": [made_by]}
        if self.links:
            content["DatasetLinks"] = self.links
        identifiers = [description_of(dataset).get("DatasetDOI") for dataset in self.names]
        if any(identifiers):
            content["SourceDatasets"] = [{"DOI": to_printable(str(doi))} for doi in identifiers if doi]
        write_json(output / DESCRIPTION_FILE, FIRST | description_of(output) | content)


def uri(dataset: str, path: str) -> str:
    """Return the BIDS URI of a file, given the name of its dataset, which is empty for this one, and its path there."""
    return f"bids:{dataset}:{quote(path)}"


def _path_from(output: Path, dataset: Path) -> str | None:
    """Return the relative path of a dataset, None if it leads over the root of a disk."""
    try:
        shared = Path(os.path.commonpath([output, dataset]))
    except ValueError:  # another drive
        return None
    return quote(Path(os.path.relpath(dataset, output)).as_posix()) if shared != Path(shared.anchor) else None
