"""One py_test per pytest file."""

def pytest_tests(srcs, deps, data = [], uncached = []):
    """Defines a py_test, named after the file, for each pytest file.

    Args:
      srcs: files to test, each named test_*.py.
      deps: py_library targets, for all of them.
      data: files read at run time, for all of them.
      uncached: those of srcs that read other files than their dependencies; they always run.
    """
    for src in srcs:
        native.py_test(
            name = src[:-len(".py")],
            srcs = [src, "//tools/bazel:pytest_main.py"],
            main = "//tools/bazel:pytest_main.py",
            args = ["$(rootpath %s)" % src],
            data = data + ["//:setup.cfg"],
            deps = deps,
            size = "large",  # up to 15 minutes: some take five, and more on a busy machine
            tags = ["external"] if src in uncached else [],
        )
