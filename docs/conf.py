"""Configuration of the documentation, which ``sphinx-build -W -c docs . site`` builds from the root of the checkout."""

import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

from sphinx.application import Sphinx
from sphinx.util import rst

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyrocount
from pyrocount.options import options_of

project = "pyrocount"
author = "The pyrocount developers"
release = pyrocount.__version__
html_title = f"pyrocount {release}"
html_theme = "furo"

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/reference/*.md",
    "tutorials/*.ipynb",
]

# The search for documents does not walk through environments and runs.
exclude_patterns = [".*", "build", "runs", "site"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# The notebooks are kept with their outputs.
nb_execution_mode = "off"

autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    # Methods that scikit-learn adds, with its own links.
    "exclude-members": "set_fit_request, set_score_request, set_transform_request",
}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Docstrings that are inherited from classes of torch, Pyro and NumPyro have other styles.
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_use_ivar = True


def setup(app: Sphinx) -> None:
    """Registers what documents groups of options; docstrings get their arguments before napoleon reads them."""
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", list_options, priority=400)


def is_group(item: Any) -> bool:
    """Returns whether an object is a group of options, whose fields are declared by annotations."""
    if not (isinstance(item, type) and is_dataclass(item)):
        return False
    try:
        hints = get_type_hints(item, include_extras=True).values()
    except NameError:  # A name that is imported for type checkers alone.
        return False
    return bool(hints) and all(get_origin(hint) is Annotated for hint in hints)


def shorten_signature(
    app: Sphinx, what: str, name: str, item: Any, settings: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """Returns the signature of a group of options without its annotations; None for others, which stay as they are."""
    return ("(**options)", "") if is_group(item) else None


def list_options(app: Sphinx, what: str, name: str, item: Any, settings: Any, lines: list[str]) -> None:
    """Adds the help of each option to the docstring of a group."""
    if is_group(item):
        helps = [f"    {name}: {rst.escape(option.help)}." for name, option in options_of(item).items()]
        lines += ["", "Args:", *helps, ""]
