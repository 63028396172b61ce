"""The evaluations of the paper and its successors, with one subcommand each."""
