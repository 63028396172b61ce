"""Where examples come from: TFDS, TFRecord files, folders, CSV files, arrays."""
