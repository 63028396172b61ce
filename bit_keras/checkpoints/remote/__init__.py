"""Remote files: addresses, downloads that can be resumed, checks of the received files."""
