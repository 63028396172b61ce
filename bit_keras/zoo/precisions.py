"""Precisions of the computation, as names of dtype policies of Keras."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
