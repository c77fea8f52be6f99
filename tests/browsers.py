"""A headless Chromium for tests of pages, which are opened from disk and may neither fetch anything nor complain."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
"""The browser's program, None if there is none."""

OPTIONS = (
    "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
"""Options: WebGL without a graphics card, and no network."""


@contextmanager
def visited(browser: Browser, file: Path, **options: Any) -> Iterator[Page]:
    """Yield a page that was opened from disk; at the end nothing was fetched, and the console has no error.

    Args:
        browser: the browser.
        file: the page.
        options: of the browser's context, such as `viewport`.
    """
    context = browser.new_context(**options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    requests: list[str] = []
    try:
        page.goto(file.as_uri())
        yield page
        assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert complaints == []
    finally:
        context.close()


def serious_of(page: Page) -> list[str]:
    """Return what axe finds on a page that is serious for a reader with a screen reader or a keyboard."""
    # As text in UTF-8: axe-core-python reads it in the encoding of the locale.
    page.evaluate(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = [one for one in page.evaluate("axe.run()")["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['target']}" for one in found for node in one["nodes"]]
