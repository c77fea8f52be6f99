"""The project's own files agree with each other: a version stands in one place, and elsewhere follows it."""

from pathlib import Path

import yaml

from pipeline import __version__

PROJECT = Path(__file__).parents[1]


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


def test_hooks_before_a_commit_use_the_versions_that_lint_uses() -> None:
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    revisions = {Path(repository["repo"]).name: repository.get("rev") for repository in hooks["repos"]}
    lines = (PROJECT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert revisions["ruff-pre-commit"] == f"v{pinned['ruff']}"
    assert revisions["codespell"] == f"v{pinned['codespell']}"
