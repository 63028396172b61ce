"""Sources of examples: TensorFlow Datasets, TFRecord files, folders, CSV files, arrays."""
