"""The first page: the site is in the folder docs/ of its output, so the root leads there."""

from pathlib import Path

_REDIRECT = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/index.html">\n'


def setup(app) -> dict:
    app.connect("build-finished", _write_root)
    return {"parallel_read_safe": True}


def _write_root(app, exception) -> None:
    if exception is None and app.builder.name == "html":
        Path(app.outdir, "index.html").write_text(_REDIRECT)
