"""What strangers' npz files have in common, weights and data sets: the errors that damage causes, and bounds."""

import tokenize
import zipfile
import zlib

# What a damaged file raises. RuntimeError: an encrypted member. MemoryError: a header that promises too much, or one of
# thousands of nested operators. The last three: a header that is no Python literal.
ERRORS = (
    *(ValueError, OSError, EOFError, RuntimeError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError, TypeError),
)
# Characters of the header of an array; that of an array of numbers has 100.
MAX_HEADER = 1000


def check_compression(archive: zipfile.ZipFile) -> None:
    """Raises ValueError unless all members are as np.savez and np.savez_compressed write them.

    The decoders of other methods may allocate gigabytes at once, and raise errors of their own.
    """
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} must be stored or deflated")
