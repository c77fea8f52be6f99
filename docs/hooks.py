"""The documentation site: the README becomes its first page, and files outside docs/ that a page links to become pages.

MkDocs calls these functions (see mkdocs.yml). The pages in docs/ stay as a reader sees them in the repository.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
STAGES = ("cohorts", "model", "scans", "scoring", "training", "prediction", "evaluation")
PACKAGES = ("networks", "transforms", *(f"pipeline.{stage}" for stage in STAGES))
"""Packages of the API reference."""
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")
"""A link from docs/ to a file outside it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page, the API reference, and a page for each file outside docs/ that a page links to."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    readme = re.sub(r"\]\((?!http|#)(?=[A-Z]+\.md|bundles/)", "](../", readme)
    pages = {"index.md": readme} | {f"reference/{name}.md": f"# {name}\n\n::: {name}\n" for name in PACKAGES}
    texts = [readme, *(file.read_text(encoding="utf-8") for file in (ROOT / "docs").glob("*.md"))]
    for path in sorted({match[1] for text in texts for match in OUTSIDE.finditer(text)}):
        content = (ROOT / path).read_text(encoding="utf-8")
        language = {".py": "python", ".yaml": "yaml"}.get(Path(path).suffix)
        fenced = f"# {path}\n\n````{language}\n{content}\n````\n"
        pages[f"source/{path}.md"] = fenced if language else content
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave docs/ into links to their pages of the site."""
    return OUTSIDE.sub(lambda match: f"](source/{match[1]}.md)", markdown)
