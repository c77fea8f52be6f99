"""Workspaces are what ITK-SNAP reads: checked by the rules of its own reading code."""

import re
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
from helpers import save_scan

from pipeline.nifti import on_grid_of
from pipeline.prediction.itksnap import write_workspace
from pipeline.scoring import Cluster, Findings

SHAPE = (6, 7, 1)


def write_case(folder: Path, case: str, highest: float = 5.0, calibrated: bool = True) -> ElementTree.Element:
    """Write the files of a case and its workspace, and return the workspace's root."""
    folder.mkdir(parents=True)
    scan = nib.nifti1.load(save_scan(folder / f"{case}_image.nii.gz", np.ones(SHAPE, np.int16)))
    surprise = np.linspace(0, highest, 42, dtype=np.float32).reshape(SHAPE)
    numbers = np.uint16(surprise > 2) + np.uint16(surprise > 4)
    maps = {"recommended": surprise, "surprise": surprise, "clusters": numbers}
    for name in maps if calibrated else ("recommended",):
        nib.save(on_grid_of(scan, maps[name]), folder / f"{case}_{name}.nii.gz")
    clusters = [
        Cluster(number, 4.0 / number, (0, 0, 0), (0, 0, 0), "left", 5.0, 4.0, 4.0, (0, 0), False) for number in (1, 2)
    ]
    findings = Findings(surprise, np.uint8(numbers > 0), numbers, tuple(clusters), 6.0, highest)
    write_workspace(folder, case, findings if calibrated else None)
    return ElementTree.parse(folder / f"{case}.itksnap").getroot()


def entry(element: ElementTree.Element, *keys: str) -> str:
    """Return the value of an entry in nested folders."""
    for key in keys[:-1]:
        (element,) = [child for child in element.findall("folder") if child.get("key") == key]
    (found,) = [child for child in element.findall("entry") if child.get("key") == keys[-1]]
    return found.get("value")


def layers(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Return the layers by the last part of their files' names, in their order."""
    (folder,) = [child for child in root.findall("folder") if child.get("key") == "Layers"]
    found = folder.findall("folder")
    assert [layer.get("key") for layer in found] == [f"Layer[{i:03d}]" for i in range(len(found))]
    return {re.search(r"_([a-z]+)\.nii\.gz$", entry(layer, "AbsolutePath"))[1]: layer for layer in found}


def colour(layer: ElementTree.Element, value: float, low: float, high: float) -> np.ndarray:
    """Return red, green, blue and opacity of a value of a map from low to high: by the curve, then the colour map."""
    mapping = ("LayerMetaData", "DisplayMapping")

    def points(kind: str, key: str, *names: str) -> np.ndarray:
        number = int(entry(layer, *mapping, kind, "NumberOfControlPoints"))
        return np.array(
            [[float(entry(layer, *mapping, kind, key % i, *n.split("."))) for n in names] for i in range(number)]
        )

    t, x = points("Curve", "ControlPoint[%d]", "tValue", "xValue").T
    place = np.interp((value - low) / (high - low), t, x)
    index, *channels = points("ColorMap", "ControlPoint[%04d]", "Index", "Left.R", "Left.G", "Left.B", "Left.A").T
    assert (index[0], index[-1]) == (0, 1)  # or ITK-SNAP refuses the map
    return np.array([np.interp(place, index, channel) for channel in channels])


def test_layers_have_the_roles_and_the_main_image_is_first(tmp_path: Path) -> None:
    found = layers(write_case(tmp_path / "case", "case"))
    assert [(name, entry(layer, "Role")) for name, layer in found.items()] == [
        ("image", "MainRole"),
        ("recommended", "OverlayRole"),
        ("surprise", "OverlayRole"),
        ("clusters", "SegmentationRole"),
    ]


def test_the_surprise_lies_half_transparent_over_the_scan_and_recommended_is_hidden(tmp_path: Path) -> None:
    found = layers(write_case(tmp_path / "case", "case"))
    opacity = {name: float(entry(layer, "LayerMetaData", "Alpha")) for name, layer in found.items()}
    assert 0 < opacity["surprise"] < 1
    assert opacity["recommended"] == 0
    assert [entry(found[name], "LayerMetaData", "Sticky") for name in ("image", "surprise", "recommended")] == list(
        "011"
    )


@pytest.mark.parametrize("highest", [1.7, 4.0, 5.3])
def test_the_surprise_is_shown_from_1_to_4_whatever_its_range(tmp_path: Path, highest: float) -> None:
    layer = layers(write_case(tmp_path / "case", "case", highest))["surprise"]
    opacities = [colour(layer, value, 0, highest)[3] for value in (0, 1, 1.5, 2, 4)]
    assert opacities[0] == 0
    assert opacities[1] == pytest.approx(0, abs=0.1)
    assert 0 < opacities[2] < opacities[3]
    assert opacities[4] == 255
    reference = layers(write_case(tmp_path / "reference", "case", 5.0))["surprise"]
    np.testing.assert_allclose(colour(layer, 2.5, 0, highest), colour(reference, 2.5, 0, 5.0), atol=0.1)


def test_a_map_without_surprise_can_be_shown(tmp_path: Path) -> None:
    layer = layers(write_case(tmp_path / "case", "case", highest=0.0))["surprise"]
    assert colour(layer, 0, 0, 1)[3] == 0


def test_without_calibration_recommended_is_the_overlay_and_nothing_is_segmented(tmp_path: Path) -> None:
    found = layers(write_case(tmp_path / "case", "case", calibrated=False))
    assert list(found) == ["image", "recommended"]
    assert float(entry(found["recommended"], "LayerMetaData", "Alpha")) > 0
    assert colour(found["recommended"], 5, 0, 5)[3] == 255
    assert not (tmp_path / "case" / "case_labels.txt").exists()


def test_project_settings_hold_for_the_image_and_name_the_clusters(tmp_path: Path) -> None:
    main = layers(write_case(tmp_path / "case", "case"))["image"]
    # ITK-SNAP ignores the labels unless the dimensions are those of the image.
    assert entry(main, "ProjectMetaData", "Files", "Grey", "Dimensions") == "6 7 1"
    table = ("ProjectMetaData", "IRIS", "LabelTable")
    assert entry(main, *table, "NumberOfElements") == "2"
    assert [entry(main, *table, f"Element[{i}]", "Index") for i in (0, 1)] == ["1", "2"]
    assert entry(main, *table, "Element[1]", "Label") == "cluster 2, 2 ml, left"


def test_label_file_describes_the_same_labels(tmp_path: Path) -> None:
    main = layers(write_case(tmp_path / "case", "case"))["image"]
    lines = (tmp_path / "case" / "case_labels.txt").read_text().splitlines()
    clear, *labels = [line for line in lines if not line.startswith("#")]
    form = r'\s*(\d+)\s+(\d+ +\d+ +\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"(.*)"'
    assert re.fullmatch(form, clear)[1] == "0"
    assert len(labels) == 2
    for i, line in enumerate(labels):
        index, rgb, opacity, visible, mesh, label = re.fullmatch(form, line).groups()
        element = ("ProjectMetaData", "IRIS", "LabelTable", f"Element[{i}]")
        assert (index, opacity, visible, mesh) == (str(i + 1), "1", "1", "1")
        assert label == entry(main, *element, "Label")
        assert rgb.split() == entry(main, *element, "Color").split()


@pytest.mark.parametrize("case", ["case", "Mü ß & <b>\"x'", "a;b [0] %d", "=1+1"])
def test_files_are_found_wherever_the_folder_is_moved(tmp_path: Path, case: str) -> None:
    write_case(tmp_path / "Müller & <Söhne>" / "case", case)
    moved = (tmp_path / "Müller & <Söhne>" / "case").rename(tmp_path / "moved ä")
    root = ElementTree.parse(moved / f"{case}.itksnap").getroot()
    saved_in = entry(root, "SaveLocation")
    assert saved_in != str(moved)
    for layer in layers(root).values():
        # IRISApplication::OpenProject: the path below SaveLocation, below the workspace's own folder.
        path = entry(layer, "AbsolutePath")
        assert path.startswith(saved_in)
        assert (moved / path.removeprefix(saved_in).lstrip("/")).is_file()
    assert "Söhne" not in (moved / f"{case}.itksnap").read_text(encoding="utf-8")


def test_the_file_keeps_its_own_document_type(tmp_path: Path) -> None:
    root = write_case(tmp_path / "case", "case")
    text = (tmp_path / "case" / "case.itksnap").read_text()
    assert text.startswith('<?xml version="1.0" encoding="UTF-8" ?>\n')
    assert "<!DOCTYPE registry [" in text
    for folder in [root, *root.iter("folder")]:
        tags = [child.tag for child in folder]
        assert tags == sorted(tags)  # <!ELEMENT folder (entry*,folder*)>
        assert len({child.get("key") for child in folder}) == len(tags)
    assert all(not len(element) and set(element.attrib) == {"key", "value"} for element in root.iter("entry"))
    assert entry(root, "Version").isdigit()
