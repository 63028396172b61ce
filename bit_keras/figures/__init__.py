"""Figures: of one run, and of accuracies over several runs."""
