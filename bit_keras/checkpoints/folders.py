"""The weight file in a folder: of a run, of `save_pretrained`, or the only one."""

import fnmatch
from pathlib import Path

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.readers import shards, torch_pickle
from bit_keras.checkpoints.readers.hub_module import is_saved_model

# Files of a run: the best weights before the last ones, and its settings.
OF_A_RUN = ("best.npz", "weights.npz")
CONFIG = "config.json"
_ENDINGS = (".npz", ".h5", ".keras", ".safetensors", shards.ENDING)
_SHOWN = 10  # names in a message


def weight_file(path: Path) -> Path:
    """Returns the weight file in a folder; any other path, and a SavedModel, as it is.

    That is best.npz, or else weights.npz, as in the folder of a run, or the only weight file; shards count as one.

    Raises:
        FileNotFoundError: the folder has no weight file.
        CheckpointError: it has several, or only files of PyTorch that are never read.
    """
    if not path.is_dir() or is_saved_model(path):
        return path
    names = sorted(child.name for child in path.iterdir() if child.is_file() and not child.name.startswith("."))
    for name in OF_A_RUN:
        if name in names:
            return path / name
    files = [name for name in names if name.endswith(_ENDINGS)]
    indices = [name for name in files if name.endswith(shards.ENDING)]
    files = [name for name in files if _index_name(name) not in indices]
    if len(files) > 1:
        raise CheckpointError(f"{path} holds {len(files)} weight files, give the path of one: {_shown(files)}")
    if files:
        return path / files[0]
    pickles = [name for name in names if name.endswith(torch_pickle.ENDINGS)]
    of_the_network = fnmatch.filter(pickles, "pytorch_model*.bin") or pickles[:1]  # others are of an optimizer
    if of_the_network:
        raise torch_pickle.refusal(*(path / name for name in of_the_network))
    state = "of a run that has written no weights yet" if CONFIG in names else "without weights"
    raise FileNotFoundError(
        f"{path} is a folder {state}: it must hold best.npz or weights.npz, as that of a run, saved_model.pb, or one "
        f"file that ends in {', '.join(_ENDINGS)}; it holds {_shown(names) or 'no files'}"
    )


def _index_name(name: str) -> str | None:
    index = shards.index_of_shard(Path(name))
    return None if index is None else index.name


def _shown(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
