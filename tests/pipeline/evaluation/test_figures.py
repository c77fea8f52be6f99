"""Figures: a score has one scale for all cases, the sides of a picture are named, and curves go one way."""

import numpy as np
from matplotlib.colors import to_rgb

from pipeline.evaluation.figures import DRAWN, FOUND, LESION, OUTCOMES, gallery_figure
from pipeline.evaluation.gallery import Gallery, GalleryRow

COLUMNS = ("input", "reconstruction g", "label", "recommended", "surprise", FOUND)


def row(highest: float) -> GalleryRow:
    picture = np.linspace(0, highest, 12).reshape(3, 4)
    brain = np.ones((3, 4), bool)
    label, marked = (np.arange(12).reshape(3, 4) < n for n in (2, 0))
    marked[0, 1:3] = True
    scores = {"recommended": picture, "rec": -picture, "surprise": picture}
    return GalleryRow(
        "best", "case_$x^2$", 0.5, "slice 1", picture / highest, picture / highest, brain, label, marked, scores,
        ("R", "L"), 1.0,
    )  # fmt: skip


def test_a_score_has_one_scale_for_all_cases_and_a_colour_bar() -> None:
    figure = gallery_figure(Gallery((row(1.0), row(5.0)), threshold=0.5), ["recommended", "rec", "surprise"])
    limits = {"recommended": set(), "rec": set(), "surprise": set()}
    for panel in figure.axes:
        if panel.get_title() in limits:
            limits[panel.get_title()].add(panel.images[0].get_clim())
    assert limits == {"recommended": {(0.0, 5.0)}, "rec": {(-5.0, 0.0)}, "surprise": {(1.0, 4.0)}}
    assert [bar.get_xlim() for bar in figure.axes[-3:]] == [(0.0, 5.0), (-5.0, 0.0), (1.0, 4.0)]


def test_each_picture_names_its_sides_and_each_row_its_case() -> None:
    figure = gallery_figure(Gallery((row(1.0),), threshold=0.5), COLUMNS)
    panels = [panel for panel in figure.axes if panel.get_title()]
    assert [panel.get_title() for panel in panels] == list(COLUMNS)
    for panel in panels:
        assert [text.get_text() for text in panel.texts] == ["R", "L"]
    assert panels[0].get_ylabel() == "best, AP 0.50\ncase_\\$x^2\\$\nslice 1"
    figure.canvas.draw()  # a name is no formula


def test_what_is_found_missed_and_falsely_marked_has_three_colours() -> None:
    """Voxels 0 and 1 are annotated, 1 and 2 are marked."""
    picture, grey = DRAWN[FOUND](row(1.0)), row(1.0).scan
    for voxel, outcome in ((0, "missed"), (1, "found"), (2, "falsely marked")):
        expected = 0.3 * grey[0, voxel] + 0.7 * np.asarray(to_rgb(OUTCOMES[outcome]))
        np.testing.assert_allclose(picture[0, voxel], expected)
    np.testing.assert_array_equal(picture[1], np.repeat(grey[1, :, None], 3, axis=1))


def test_the_outlines_of_lesions_are_on_the_scan_and_on_the_maps() -> None:
    assert np.allclose(DRAWN["label"](row(1.0))[0, :2], to_rgb(LESION))
    figure = gallery_figure(Gallery((row(1.0),), threshold=0.5), ["recommended"])
    outlines = figure.axes[0].images[1].get_array()
    assert np.allclose(outlines[0, :2, :3], to_rgb(LESION))
    assert outlines[1, 1, 3] == 0  # inside the brain the map is seen
