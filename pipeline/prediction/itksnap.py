"""The ITK-SNAP workspace of a case: the scan, the maps over it and the clusters as its segmentation.

Keys and their order follow ITK-SNAP's own samples (Testing/TestData/*.itksnap) and the code that reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib

from pipeline.prediction.cluster_labels import cluster_colour, cluster_label
from pipeline.prediction.colours import COLOURS, OPACITY, SHOWN
from pipeline.scoring import Cluster, Findings

SAVED_IN = "/case"
"""SaveLocation of the workspace. No case is ever stored at this path, so ITK-SNAP always resolves files relative to the
workspace, and the file contains no path of the machine."""

WORKSPACE_HEADER = """<?xml version="1.0" encoding="UTF-8" ?>
<!--ITK-SNAP (itksnap.org) Project File

This file can be moved/copied along with the images that it references
as long as the relative location of the images to the project file is
the same. Do not modify the SaveLocation entry, or this will not work.
-->
<!DOCTYPE registry [
<!ELEMENT registry (entry*,folder*)>
<!ELEMENT folder (entry*,folder*)>
<!ELEMENT entry EMPTY>
<!ATTLIST folder key CDATA #REQUIRED>
<!ATTLIST entry key CDATA #REQUIRED>
<!ATTLIST entry value CDATA #REQUIRED>
]>
"""

LABEL_DESCRIPTIONS = """################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""

LABEL_DESCRIPTION = '{:5d}   {:3d}  {:3d}  {:3d}        1  1  1    "{}"\n'

Label = tuple[int, tuple[int, ...], str]
"""A label's number, its red, green and blue, and its text."""


def write_workspace(folder: Path, case: str, findings: Findings | None) -> None:
    """Write CASE.itksnap beside the maps of a case, and with calibration CASE_labels.txt.

    Args:
        folder: the folder with CASE_image.nii.gz and CASE_recommended.nii.gz, and with calibration also
            CASE_surprise.nii.gz and CASE_clusters.nii.gz. Without calibration `recommended` is the overlay and there
            is no segmentation.
        case: the start of the files' names.
        findings: what was found, None without calibration.
    """

    def file_of(name: str) -> Path:
        return folder / f"{case}_{name}.nii.gz"

    labels = _labels(findings.clusters) if findings is not None else []
    layers = [_layer(file_of("image"), "MainRole", alpha=255, project=_project(file_of("image"), labels))]
    # `recommended` is under the surprise, and then wholly transparent.
    layers.append(
        _layer(file_of("recommended"), "OverlayRole", OPACITY if findings is None else 0, "recommended", _line(0, 1))
    )
    if findings is not None:
        # A curve's t runs from 0 at the map's lowest value, which is 0, to 1 at its highest.
        curve = _line(*(value / (findings.max_surprise or 1) for value in SHOWN))
        layers.append(_layer(file_of("surprise"), "OverlayRole", OPACITY, "surprise", curve))
        layers.append(_layer(file_of("clusters"), "SegmentationRole", alpha=0, nickname="clusters"))
        lines = [LABEL_DESCRIPTION.format(number, *colour, text) for number, colour, text in labels]
        (folder / f"{case}_labels.txt").write_text(LABEL_DESCRIPTIONS + "".join(lines), encoding="utf-8")

    registry = _element(
        "registry",
        {
            "SaveLocation": SAVED_IN,
            "Version": "20220203",
            "Layers": {f"Layer[{i:03d}]": layer for i, layer in enumerate(layers)},
        },
    )
    ElementTree.indent(registry)
    text = WORKSPACE_HEADER + ElementTree.tostring(registry, encoding="unicode") + "\n"
    (folder / f"{case}.itksnap").write_text(text, encoding="utf-8")


def _labels(clusters: Sequence[Cluster]) -> list[Label]:
    """Return the label of each cluster."""
    return [
        (one.cluster, cluster_colour(one.cluster), cluster_label(one.cluster, one.volume_ml, one.side))
        for one in clusters
    ]


def _element(tag: str, content: dict[str, Any], **attributes: str) -> ElementTree.Element:
    """Return a registry or folder, with an entry for each value, then a folder for each dictionary."""
    element = ElementTree.Element(tag, attributes)
    for key, value in content.items():
        if not isinstance(value, dict):
            ElementTree.SubElement(element, "entry", key=key, value=str(value))
    element.extend(_element("folder", value, key=key) for key, value in content.items() if isinstance(value, dict))
    return element


def _layer(
    file: Path,
    role: str,
    alpha: float,
    nickname: str = "",
    curve: dict[str, Any] | None = None,
    project: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a layer; without a curve ITK-SNAP chooses the contrast itself."""
    # "Sticky" layers lie over the scan; other layers get their own tile.
    metadata: dict[str, Any] = {
        "Alpha": alpha,
        "CustomNickName": nickname,
        "Sticky": int(role != "MainRole"),
        "Tags": "",
    }
    if curve is not None:
        metadata["DisplayMapping"] = {"ColorMap": _colour_map(), "Curve": curve}
    layer = {"AbsolutePath": f"{SAVED_IN}/{file.name}", "Role": role, "Tags": "", "LayerMetaData": metadata}
    return layer if project is None else {**layer, "ProjectMetaData": project}


def _project(image: Path, labels: Sequence[Label]) -> dict[str, Any]:
    """Return the settings of the whole workspace; ITK-SNAP ignores them unless the dimensions are the image's."""
    elements = {
        f"Element[{i}]": {"Alpha": 255, "Color": " ".join(map(str, colour)), "Flags": "1 1", "Index": n, "Label": text}
        for i, (n, colour, text) in enumerate(labels)
    }
    return {
        "Files": {"Grey": {"Dimensions": " ".join(map(str, nib.nifti1.Nifti1Image.from_filename(image).shape[:3]))}},
        "IRIS": {
            "SliceViewLayerLayout": "Stacked",
            "LabelState": {
                "CoverageMode": "OverAll",
                "DrawingLabel": 1,
                "OverwriteLabel": 0,
                "PolygonInvert": 0,
                "SegmentationAlpha": 0.35,
            },
            "LabelTable": {"NumberOfElements": len(labels), **elements},
        },
    }


def _line(start: float, end: float) -> dict[str, Any]:
    """Return the straight curve that is 0 at the start and 1 at the end."""
    points = {0: start, 0.5: (start + end) / 2, 1: end}
    controls = {
        f"ControlPoint[{i}]": {"tValue": f"{t:.6g}", "xValue": f"{x:g}"} for i, (x, t) in enumerate(points.items())
    }
    return {"NumberOfControlPoints": len(points), **controls}


def _colour_map() -> dict[str, Any]:
    """Return the colours of the previews' overlays."""
    points = {}
    for i, (place, red, green, blue, opacity) in enumerate(COLOURS):
        colour = {"A": int(opacity), "B": int(blue), "G": int(green), "R": int(red)}
        point = {"Index": f"{place:g}", "Type": "Continuous", "Left": colour, "Right": colour}
        points[f"ControlPoint[{i:04d}]"] = point
    return {"NumberOfControlPoints": len(COLOURS), "Preset": "Custom", **points}
