"""What programs print while they run."""

import logging

from absl import logging as absl_logging


def show_own_messages() -> None:
    """Shows messages of this project from INFO on; those of TensorFlow, logged in the same place, from WARNING on."""
    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.get_absl_handler().addFilter(lambda record: record.levelno > logging.INFO or _is_own(record.pathname))
    logging.getLogger("tensorflow").setLevel(logging.WARNING)


def _is_own(path: str) -> bool:
    return "bit_keras" in path or "site-packages" not in path
