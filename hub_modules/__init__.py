"""The catalogue: one page a module in the format of TF Hub, generated from the table of published weights."""
