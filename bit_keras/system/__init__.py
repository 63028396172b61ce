"""Utilities without machine learning: files, processes, messages, checks of arguments, command lines."""
