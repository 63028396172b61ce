"""How batches are made: by tf.data, or by grain and NumPy."""
