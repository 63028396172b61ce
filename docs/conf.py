"""Settings of the documentation site: `make docs` builds it with Sphinx.

The sources are all Markdown pages of the checkout, where GitHub shows them; so the source folder is that of the
checkout, and this folder holds the configuration only.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from bit_keras.system.version import VERSION  # noqa: E402

project = "bit_keras"
author = "the authors of bit_keras"
project_copyright = "the authors of bit_keras. Licence: Apache-2.0"
version = release = VERSION

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "bit_keras/**.md",
    "export/**.md",
    "hub_modules/**.md",
    "*.md",
]
# Only Markdown files and notebooks are pages. The folders are not even searched.
exclude_patterns = [".*", "site", "build", "dist", "bazel-*", "demo_output", "hub_modules/templates", "tests"]
exclude_patterns += ["docs/images"]  # where its pictures come from; no page for readers
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

extensions = [
    "myst_nb",  # reads pages with myst_parser, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "tools.site.diagrams",
    "tools.site.docstrings",
    "tools.site.formulas",
    "tools.site.notebooks",
    "tools.site.pages",
]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4  # the anchors that GitHub gives to titles
nb_execution_mode = "off"  # tests/newcomer/ runs the notebooks

default_role = "py:obj"  # `name` in a docstring links to the reference, if it is there
autodoc_inherit_docstrings = False
autodoc_mock_imports = ["apache_beam"]  # cannot be installed beside the other packages
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autoclass_content = "class"
python_maximum_signature_line_length = 90  # longer signatures have one parameter a line
add_module_names = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Examples of docstrings run in an empty folder, with the inputs of tools/site/example_inputs.py.
doctest_global_setup = """
import logging, os, tempfile
logging.getLogger("tensorflow").setLevel("ERROR")
logging.getLogger("bit_keras").setLevel("ERROR")
from tools.site.example_inputs import *
_place, _folder = os.getcwd(), tempfile.TemporaryDirectory(prefix="bit_keras_examples")
os.chdir(_folder.name)
write()
"""
doctest_global_cleanup = """
os.chdir(_place)
_folder.cleanup()
"""

html_theme = "furo"
html_title = f"bit_keras {VERSION}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "monokai"
