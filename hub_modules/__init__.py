"""The catalogue: one page per module in the format of TF Hub, generated from the table of published weights."""
