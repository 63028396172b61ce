"""The tables: variants of the network, and published weights."""
