"""The documentation: ``sphinx-build -W -c docs . site``, from the root of the checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyrocount

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

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# The outputs are in the notebooks.
nb_execution_mode = "off"

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# A class that torch, Pyro or NumPyro made the parent of ours brings docstrings in styles of their own.
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_use_ivar = True
