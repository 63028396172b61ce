"""Inference: classifiers from any weights, and the classes of image files."""
