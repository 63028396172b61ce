"""The Python toolchain: the interpreter of a virtual environment, with all packages installed in it."""

_BUILD = """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "interpreter",
    interpreter_path = "{interpreter}",
    python_version = "PY3",
    stub_shebang = "#!{interpreter}",
)

py_runtime_pair(
    name = "runtimes",
    py3_runtime = ":interpreter",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtimes",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _virtual_env_toolchain_impl(repository_ctx):
    folder = repository_ctx.os.environ.get("VIRTUAL_ENV", "")
    interpreter = folder + "/bin/python"
    if not folder or not repository_ctx.path(interpreter).exists:
        fail("VIRTUAL_ENV must name a virtual environment with the test dependencies, received %r; " % folder +
             "`make bazel` makes one and runs the tests in it.")
    repository_ctx.file("BUILD", _BUILD.format(interpreter = interpreter))

virtual_env_toolchain = repository_rule(
    implementation = _virtual_env_toolchain_impl,
    environ = ["VIRTUAL_ENV"],
    local = True,
    doc = "Defines //:toolchain from the virtual environment that the variable VIRTUAL_ENV names.",
)
