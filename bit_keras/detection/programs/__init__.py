"""The subcommands of `bit-detect`: the flags and the main function of each."""
