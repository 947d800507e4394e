"""The pages of the documentation: built without a warning, with no broken link, and with nothing left out."""

import ast
import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.links += [values[name] for name in ("href", "src") if values.get(name)]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The pages, built as the README says."""
    command = re.search(r"sphinx-build .*", (ROOT / "README.md").read_text()).group()
    assert command.split()[-1] == "site"
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command.split()[1:-1], str(target)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def broken_links(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (
                target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].anchors
            ):
                yield f"{path.relative_to(site)} -> {link}"


def test_no_link_is_broken(site):
    assert not list(broken_links(site))
    page = site / "docs" / "index.html"
    page.write_text(page.read_text().replace("</body>", '<a href="nowhere.html"></a><a href="#nowhere"></a></body>'))
    assert len(list(broken_links(site))) == 2


def test_public_names_are_in_the_reference(site):
    pages = "".join(path.read_text() for path in (site / "docs" / "reference").glob("*.html"))
    anchors = set(re.findall(r'id="(pyrocount[\w.]*)"', pages))
    missing = []
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        for module in re.findall(r"automodule:: (\S+)", page.read_text()):
            tree = ast.parse(Path(importlib.import_module(module).__file__).read_text())
            defined = [
                node.name
                for node in tree.body
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            ]
            missing += [f"{module}.{name}" for name in defined if f"{module}.{name}" not in anchors]
    assert not missing
    assert "pyrocount.distributions.relaxed_negative_binomial.RelaxedNegativeBinomial" in anchors or (
        "pyrocount.distributions.RelaxedNegativeBinomial" in anchors
    )


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name)
def test_files_that_pages_link_to_exist(path):
    for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if not urlsplit(link).scheme:
            assert (path.parent / link).exists(), link
