"""Loaders of batches: tf.data, and grain with NumPy."""
