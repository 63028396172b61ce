"""The command bit-export, with one module per subcommand: its settings, and a call of the library."""
