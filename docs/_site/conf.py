"""Sphinx's settings for the site: ``make docs`` builds it."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]
# threads sleep while they wait: notebooks and the build share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import spikingtorch  # noqa: E402

project = "spikingtorch"
author = copyright = "The spikingtorch developers"
version = release = spikingtorch.__version__
root_doc = "index"
exclude_patterns = ["gallery/**.ipynb"]  # the scripts of the gallery once more, for download
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
    "reference",
    "links",
    "sources",
]
nitpicky = True
nitpick_ignore_regex = [
    # types of other libraries, whose references would have to be fetched
    (r"py:.*", r"(torch|jax|numpy|nir|os|collections|typing|pathlib)\..*"),
    # matplotlib's, which is imported when the first picture is drawn
    (r"py:class", r"Axes|Figure"),
]
suppress_warnings = [
    "myst.header",  # pages of benchmarks begin with headings of the third level
    "config.cache",  # functions in the settings of the gallery, which are not kept
]

# --- pages of Markdown, and those that are notebooks
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 4
cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
# braces around the name of a group keep it in one piece
authors = [f"{{{a['name']}}}" if "name" in a else f"{a['family-names']}, {a['given-names']}" for a in cff["authors"]]
fields = {"title": cff["title"], "author": " and ".join(authors), "version": cff["version"]}
entry = "".join(f"  {key} = {{{text}}},\n" for key, text in fields.items())
myst_substitutions = {"bibtex": f"```bibtex\n@software{{spikingtorch,\n{entry}}}\n```"}
nb_execution_mode = "force"
nb_execution_timeout = 60
nb_execution_raise_on_error = True
nb_merge_streams = True

# --- the reference
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
add_module_names = False
viewcode_line_numbers = True

# --- the gallery
if [*(ROOT / "examples" / "gallery").rglob("*.py")]:
    extensions.insert(0, "sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": str(ROOT / "examples" / "gallery"),
        "gallery_dirs": "gallery",
        "backreferences_dir": "_backreferences",
        "doc_module": ("spikingtorch",),
        "reference_url": {"spikingtorch": None},
        "filename_pattern": r"\.py$",
        "abort_on_example_error": False,
        "only_warn_on_example_error": False,
        "image_srcset": ["2x"],
        "min_reported_time": 0,
        "show_signature": False,
        "write_computation_times": False,
        "remove_config_comments": True,
        "download_all_examples": True,
        "plot_gallery": True,
    }

# --- the looks
html_theme = "pydata_sphinx_theme"
html_title = f"spikingtorch {version}"
# MathJax itself, which the package brings as files: formulas are typeset without a network
found = find_spec("sphinx-mathjax-offline")
assert found is not None
assert found.origin is not None
html_static_path = [str(ROOT / "docs" / "_static"), str(Path(found.origin).with_name("static"))]
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"chtml": {"displayAlign": "left", "displayIndent": "2em"}}
html_css_files = ["site.css"]
html_search_scorer = str(HERE / "scorer.js")
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": html_title, "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "navigation_depth": 2,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "article_header_start": ["breadcrumbs"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "back_to_top_button": False,
}
html_sidebars: dict[str, list[str]] = {
    page: [] for page in ("index", "faq", "cite", "changelog", "contributing", "readme", "explorer/index")
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
