"""Pre-training of the small network that comes with the package: its images, its run, its few-shot sweep."""

import bit_keras  # noqa: F401: before TensorFlow, whose start it keeps quiet
