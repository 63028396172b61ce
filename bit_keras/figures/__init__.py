"""Pictures: of a run, and of accuracies over several runs."""
