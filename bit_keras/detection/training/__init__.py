"""The training of a detector."""
