"""One module per weight file format, each of which reads a file into a dict of arrays."""
