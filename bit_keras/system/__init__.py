"""What stands between the library and the machine: files, processes, messages, checks of arguments, command lines."""
