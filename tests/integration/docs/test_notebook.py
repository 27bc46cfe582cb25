"""The example notebook as it was committed."""

from __future__ import annotations

import base64
import re

import nbformat

from tests.support import notebook
from tests.support.paths import EXAMPLES, ROOT

COMMITTED = notebook.read()
CODE = [place for place, cell in enumerate(COMMITTED.cells) if cell.cell_type == "code"]


def test_the_committed_notebook_is_whole_and_clean() -> None:
    nbformat.validate(COMMITTED)
    text = notebook.PATH.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert notebook.stripped(nbformat.from_dict(COMMITTED)) == COMMITTED
    for private in ("/home/", "/root/", "/tmp/", "/usr/", "site-packages", "execution_state"):
        assert private not in text
    counts = [COMMITTED.cells[place].execution_count for place in CODE]
    assert counts == list(range(1, len(CODE) + 1))
    assert not any(
        o.get("name") == "stderr" for place in CODE for o in COMMITTED.cells[place].outputs
    )
    [picture] = re.findall(r'"image/png": "([^"]+)"', text)
    assert base64.b64decode(picture.encode().replace(b"\\n", b"")).startswith(b"\x89PNG")


def test_its_links_lead_somewhere() -> None:
    prose = "\n".join(cell.source for cell in COMMITTED.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ (.+)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        assert (EXAMPLES / path).exists()
        assert not anchor or anchor in anchors
