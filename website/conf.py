"""The settings of Sphinx. The page that is made requests nothing from another host."""

from pathlib import Path

from netlens.version import __version__

HERE = Path(__file__).parent

project = "netlens"
author = "The netlens developers"
copyright = author
version = release = __version__
html_title = f"netlens {version}"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "website.mathml",
    "website.autodoc",
]
root_doc = "index"
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}

# Markdown as a code host reads it: the same anchors, and no syntax that only this site knows but for formulas
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks show the outputs that are committed
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # the scripts of widgets would come from another host
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = [str(HERE / "static")]
html_favicon = str(HERE / "static" / "lens.svg")
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
