"""What programs print while they run."""

import logging

from absl import logging as absl_logging


def show_own_messages() -> None:
    """Shows the library's messages from INFO on, those of TensorFlow, which logs in the same place, from WARNING on."""
    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.get_absl_handler().addFilter(
        lambda record: record.levelno > logging.INFO or "bit_keras" in record.pathname
    )
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
