"""One module per format of weight files, each from a file to a dict of arrays."""
