"""Reading a case: it is checked, converted to NIfTI if it has another format, and preprocessed for the network."""

import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
from monai.transforms import Compose, Transform

from pipeline.cohorts import Entry, Item
from pipeline.scans.cases import Case
from pipeline.scans.checks import check_scan, header_warnings, read_header
from pipeline.scans.formats import as_nifti


class ReadCase(Transform):
    """Read a case: return its preprocessed item together with the scan itself.

    Args:
        preprocessing: the model's preprocessing.
        channels: number of image channels of the model.

    Raises:
        ScanError: if the scan cannot be used.
    """

    def __init__(self, preprocessing: Compose, channels: int) -> None:
        self.preprocessing = preprocessing
        self.channels = channels

    def __call__(self, case: Case) -> Item:
        """Return the preprocessed item, with `source`, the scan as a NIfTI image, and `scan_warnings`."""
        entry = replace(case.entry, label=None)
        if case.series is None:
            return self._read(entry)
        with tempfile.TemporaryDirectory() as folder:  # MONAI's loader reads files
            file = str(Path(folder) / "series.nii")
            warnings: list[str] = []
            source = case.series.read(warnings.append)
            nib.save(source, file)
            item = self._read(replace(entry, images=(file,)), source)
            return item | {"scan_warnings": warnings + item["scan_warnings"]}

    def _read(self, entry: Entry, source: nib.nifti1.Nifti1Image | None = None) -> Item:
        check_scan(entry, self.channels)
        source = read_header(entry.images[0]) if source is None else source
        with as_nifti(entry) as files:
            item: Item = self.preprocessing(files.item())
        return item | {"source": source, "scan_warnings": header_warnings(source)}
