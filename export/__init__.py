"""Programs that publish: each reloads what it wrote in a fresh process and compares numbers before it says done."""

import bit_keras  # noqa: F401: before TensorFlow, whose start it keeps quiet
