"""Extensions of Sphinx for the documentation site, and what the examples of docstrings read."""
