"""Figures: a score has one scale for all cases, and the sides of a picture are named."""

import numpy as np

from pipeline.evaluation.figures import gallery_figure
from pipeline.evaluation.gallery import Gallery, GalleryRow


def row(highest: float) -> GalleryRow:
    picture = np.linspace(0, highest, 12).reshape(3, 4)
    pictures = dict.fromkeys(("input", "reconstruction", "annotation"), picture)
    return GalleryRow("best: case", pictures, {"recommended": picture, "rec": -picture}, ("R", "L"), 1.0)


def test_a_score_has_one_scale_for_all_cases_and_a_colour_bar() -> None:
    figure = gallery_figure(Gallery((row(1.0), row(5.0)), threshold=0.5))
    limits = {"recommended": set(), "rec": set()}
    for panel in figure.axes:
        if panel.get_title() in limits:
            limits[panel.get_title()].add(panel.images[0].get_clim())
    assert limits == {"recommended": {(0.0, 5.0)}, "rec": {(-5.0, 0.0)}}
    assert sum(panel.get_label() == "<colorbar>" for panel in figure.axes) == 2


def test_each_picture_names_its_sides() -> None:
    figure = gallery_figure(Gallery((row(1.0),), threshold=0.5))
    for panel in figure.axes:
        if panel.images and panel.get_title():
            assert [text.get_text() for text in panel.texts] == ["R", "L"]
