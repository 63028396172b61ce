"""Predictions and features of many images, on a cluster: the program `bit-bulk` on Ray, and a handler for Beam."""
