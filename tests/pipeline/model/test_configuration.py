"""Configurations: changed by key, comments kept, mistakes refused."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE, build, load_configuration, settings_of, training_configuration


def test_without_changes_it_is_the_file() -> None:
    assert training_configuration() == (BUNDLE / "configs" / "train.yaml").read_text(encoding="utf-8")


def test_a_setting_changes_its_key_and_nothing_else() -> None:
    before, after = settings_of(training_configuration()), settings_of(training_configuration(settings=["lambda=0"]))
    assert after.pop("lambda") == 0
    assert before.pop("lambda") == 0.5
    assert before == after


def test_a_setting_keeps_its_comment() -> None:
    text = training_configuration(settings=["field_of_view=256"])
    line = next(line for line in text.splitlines() if line.startswith("field_of_view"))
    assert "256 " in line
    assert "# side of a slice, mm" in line


@pytest.mark.parametrize(
    "setting",
    [
        "epochs=2",
        "modality='no'",
        "features=[8, 8, 16, 16]",
        "learning_rate=1.0e-30",
        "coarse_noise::strength=[0.5, 1]",
        "square_noise::fill=[-1, 1]",
    ],
)
def test_a_setting_changes_its_line_alone(setting: str) -> None:
    before, after = training_configuration().splitlines(), training_configuration(settings=[setting]).splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].partition("#")[2] == changed[0][1].partition("#")[2]


def test_a_value_is_read_back_as_it_was_given() -> None:
    settings = settings_of(training_configuration(settings=["modality='no'", "learning_rate=1.0e-30"], seed=3))
    assert (settings["modality"], settings["learning_rate"], settings["seed"]) == ("no", 1e-30, 3)


def test_a_file_that_replaces_a_block_leaves_the_comments_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    block = "  coarse:  # mine\n    _target_: theirs.Noise\n"
    file.write_text(f"augmentation:\n  _target_: theirs.Augmentation\n# the end of mine\nnoises:\n{block}")
    text, original = training_configuration(str(file)), training_configuration()
    assert block in text
    assert "the end of mine" not in text
    lines = [line for line in original.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in text.splitlines() if line.lstrip().startswith("#")] == lines
    before, after = settings_of(original), settings_of(text)
    assert list(before) == list(after)
    assert {key for key in before if before[key] != after[key]} == {"augmentation", "noises"}


def test_the_section_below_a_replaced_block_keeps_its_title(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preprocessing:\n  _target_: theirs.Preprocessing\nsquare_noise: {number: [1, 2]}\n")
    text = training_configuration(str(file))
    assert "\n  _target_: theirs.Preprocessing\n\n# --- training alone" in text
    assert "\nsquare_noise: {number: [1, 2]}\n\n# --- augmentation" in text


def test_a_nested_key_is_set_by_its_path() -> None:
    noise = settings_of(training_configuration(settings=["coarse_noise::resolution=8"]))["coarse_noise"]
    assert noise == {"resolution": 8, "strength": [1.0, 3.0]}


def test_a_list_is_given_as_yaml() -> None:
    assert settings_of(training_configuration(settings=["features=[8, 8, 16, 16]"]))["features"] == [8, 8, 16, 16]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "nearest known one is `epochs`"),
        ("learning_rat=3", "nearest known one is `learning_rate`"),
        ("coarse_noise::strenght=3", "nearest known one is `strength`"),
        ("epochs=many", "must be a whole number, e.g. 150"),
        ("epochs=0", "must be above 0"),
        ("epochs=2.5", r"`epochs` must be a whole number, e.g. 150 \(got 2.5\)"),
        ("learning_rate=fast", r"`learning_rate` must be a number, e.g. 0.001 \(got 'fast'\)"),
        ("learning_rate=.nan", r"must be a number, .* \(got nan\)"),
        ("features=[1, 2]", r"must be a list of 4 whole numbers, e.g. \[16, 32, 64, 256\] \(got \[1, 2\]\)"),
        ("percentiles=5", r"must be a list of 2 numbers, e.g. \[5, 95\] \(got 5\)"),
        ("keep_best=3", r"`keep_best` must be true or false \(got 3\)"),
        ("modality=3", "must be text, e.g. MR"),
        ("seed=-1", "must be 0 or more, e.g. 0"),
        ("symmetry=2", "must lie between 0 and 1, e.g. 0.7"),
        ("symmetry=-0.1", "must lie between 0 and 1"),
        ("smoothing=-1", "must be 0 or more"),
        ("bias_correction=n3", "unknown bias correction 'n3'; known are none, n4"),
        ("polarity=brigth", "unknown polarity 'brigth'; known are bright, dark, both"),
        ("coarse_noise=3", "must be a block of keys"),
        ("coarse_noise::resolution=1.5", "must be a whole number"),
        ("train=3", "must be a block of keys"),
        ("epochs", "key=value"),
        ("epochs={", "not YAML"),
    ],
)
def test_a_mistake_in_a_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        training_configuration(settings=[setting])


@pytest.mark.parametrize(("value", "steps"), [("none", []), ("n4", ["CorrectBiasFieldd"])])
def test_the_bias_field_is_corrected_between_the_copy_of_the_scan_and_its_normalisation(
    value: str, steps: list[str]
) -> None:
    parser = load_configuration(settings_of(training_configuration(settings=[f"bias_correction={value}"])))
    names = [type(transform).__name__ for transform in build(parser, "preprocessing").transforms]
    copied, normalised = names.index("CopyItemsd"), names.index("NormalizeInMaskd")
    assert [name for name in names[copied + 1 : normalised] if name != "Orientationd"] == steps
    assert ("CorrectBiasFieldd" in names) == bool(steps)


def test_the_papers_configuration_changes_hyperparameters_only() -> None:
    ours, paper = settings_of(training_configuration()), settings_of(training_configuration("train_paper"))
    assert ours.keys() == paper.keys()
    assert (paper["batch_size"], paper["learning_rate"], paper["lambda"]) == (64, 0.0002, 0.5)
    assert paper["noise"] == "squares"
    assert paper["preprocessing"] == ours["preprocessing"]


def test_a_users_file_replaces_keys_and_may_add_one_that_it_refers_to(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\nmy_shift: 0.5\nbackground: '@my_shift'\n")
    settings = settings_of(training_configuration(str(file)))
    assert (settings["epochs"], settings["my_shift"], settings["background"]) == (7, 0.5, "@my_shift")


def test_a_users_file_with_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epoch: 7\n")
    with pytest.raises(UsageError, match=r"mine.yaml.*nearest known one is `epochs`"):
        training_configuration(str(file))


@pytest.mark.parametrize("content", [None, "- a list", "{"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match="cannot be read as YAML"):
        training_configuration(str(file))


def test_a_file_as_yaml_dump_writes_it_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "features:\n- 8\n- 8\n- 16\n- 16\n\ncoarse_noise:\n\n  resolution: 8\n  strength: [0.1, 0.5]\nepochs: 7\n"
    )
    settings = settings_of(training_configuration(str(file)))
    assert settings["features"] == [8, 8, 16, 16]
    assert settings["coarse_noise"] == {"resolution": 8, "strength": [0.1, 0.5]}
    assert settings["epochs"] == 7


@pytest.mark.parametrize(
    "content",
    ["epochs: many", "features: [a, b, c, d]", "batch_size: 64.0", "seed: -1", "coarse_noise: {resolution: a}"],
)
def test_wrong_values_in_a_file_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UsageError, match="must"):
        training_configuration(str(tmp_path / "mine.yaml"))
