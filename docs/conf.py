"""Sphinx's configuration of the site that `make docs` builds."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "rollbook"
author = "the rollbook developers"
project_copyright = "the rollbook developers"
release = version = installed_version("rollbook")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["_static"]

html_theme = "furo"
html_title = "rollbook"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Both suit WCAG AA on the theme's backgrounds.
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"

# `--option` must not become a dash, and quotes are code as often as they are prose.
smartquotes = False
# A single backtick marks code in docstrings; it becomes a link where the name is known.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "exclude-members": "__new__"}
add_module_names = True
python_use_unqualified_type_names = True

# The headings that a link may point to, as GitHub names them.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
# Blocks in languages that Pygments does not know, or that are cut short by an ellipsis.
suppress_warnings = ["misc.highlighting_failure"]
