"""Official h5 files, in the layout of Keras 2."""

import resource

import h5py
import numpy as np
import pytest

from bit_keras import BiT
from bit_keras.checkpoints import CheckpointError, read_npz, read_weights
from bit_keras.checkpoints.readers import hdf5
from tests.checkpoints.official import TINY, random_arrays, write_legacy_h5


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return random_arrays()


@pytest.fixture
def path(tmp_path, arrays):
    write_legacy_h5(arrays, tmp_path / "weights.h5")
    return tmp_path / "weights.h5"


def _same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in b)


def test_the_official_h5_holds_the_numbers_of_the_official_npz(golden_h5, golden_npz):
    assert _same(read_weights(golden_h5), read_npz(golden_npz))


def test_the_official_h5_gives_the_official_logits(golden_h5, golden_activations):
    model = BiT.from_preset(golden_h5)
    logits = model.predict(golden_activations["image"], verbose=0)
    scale = np.abs(golden_activations["logits"]).max()
    assert np.abs(logits - golden_activations["logits"]).max() < 1e-5 * scale


@pytest.mark.parametrize("full_names", [True, False])
@pytest.mark.parametrize("num_classes", [3, None])
def test_order_is_enough(tmp_path, full_names, num_classes):
    arrays = random_arrays(num_classes=num_classes)
    write_legacy_h5(arrays, tmp_path / "weights.h5", full_names)
    assert _same(read_weights(tmp_path / "weights.h5"), arrays)


def test_a_whole_model_is_one_level_deeper(tmp_path, path, arrays):
    with h5py.File(path) as file, h5py.File(tmp_path / "model.h5", "w") as model:
        file.copy(file, model, name="model_weights")
    assert _same(read_weights(tmp_path / "model.h5"), arrays)


def _edit(path, edit) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def _swap(file):
    names = list(file["block2"].attrs["weight_names"])
    names[:2] = names[1::-1]
    file["block2"].attrs["weight_names"] = names


def _drop_weight(file):
    file["block3"].attrs["weight_names"] = file["block3"].attrs["weight_names"][:-1]


def _drop_layer(file):
    file.attrs["layer_names"] = [name for name in file.attrs["layer_names"] if "block4" not in str(name)]


def _replace(name, data):
    def edit(file):
        del file[name]
        file[name] = data

    return edit


GAMMA = "block1/block1/unit01/a/group_norm/gamma:0"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_swap, "beta:0 is listed in place of resnet/block2/unit01/a/group_norm/gamma"),
        (_drop_weight, r"this file has \[1, 10, 19, 9, 10, 2, 2\]"),
        (_drop_layer, r"this file has \[1, 10, 19, 10, 2, 2\]"),
        (_replace(GAMMA, np.ones(2, "float32")), r"gamma:0 is \(2,\); resnet/block1/.*gamma must be \(1,\)"),
        (_replace(GAMMA, np.array([np.nan], "float32")), "must be finite"),
        (_replace(GAMMA, np.array([1])), "must hold floats, got int64"),
        (_replace(GAMMA, h5py.Empty("f")), "no array exists at"),
        (_replace(GAMMA, h5py.ExternalLink("/etc/passwd", "/")), "is a link, which is not followed"),
        (_replace(GAMMA, h5py.SoftLink("/group_norm")), "is a link, which is not followed"),
        (lambda file: file.pop(GAMMA), "no array exists at .*gamma:0"),
        (lambda file: file.pop(GAMMA.rsplit("/", 1)[0]), "no array exists at .*gamma:0"),
        (lambda file: file.attrs.pop("layer_names"), "is of neither Keras 2 nor 3: it lists no layers"),
        (_replace("root_block/root_block/standardized_conv2d/kernel:0", np.ones((7, 7))), "must be a kernel"),
    ],
)
def test_what_is_wrong_is_named(path, edit, words):
    _edit(path, edit)
    with pytest.raises(CheckpointError, match=words):
        read_weights(path)


def test_data_in_another_file_are_not_read(tmp_path, path):
    (tmp_path / "secret").write_bytes(bytes(4))

    def edit(file):
        del file[GAMMA]
        file.create_dataset(GAMMA, (1,), "float32", external=[(str(tmp_path / "secret"), 0, 4)])

    _edit(path, edit)
    with pytest.raises(CheckpointError, match="are in another file"):
        read_weights(path)


def test_absurd_sizes_are_refused_before_memory_is_taken(path):
    def edit(file):
        name = "root_block/root_block/standardized_conv2d/kernel:0"
        del file[name]
        file.create_dataset(name, (7, 7, 3, 2**40), "float32", chunks=(7, 7, 3, 64))

    _edit(path, edit)
    with pytest.raises(CheckpointError, match=r"kernel:0 promises an array of \d+ bytes; at most \d+ are read"):
        read_weights(path)


@pytest.mark.parametrize(("seconds", "words"), [(0.001, "indexing it took over 0.001 seconds"), (60, "status -11")])
def test_libhdf5_may_hang_or_crash(path, monkeypatch, tmp_path, seconds, words):
    program = tmp_path / "crash.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(hdf5, "_PROGRAM", program)
    monkeypatch.setattr(hdf5, "_SECONDS", seconds)
    with pytest.raises(CheckpointError, match=f"is no readable HDF5 file: .*{words}"):
        read_weights(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such weight file"):
        read_weights(tmp_path / "nothing.h5")
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(CheckpointError, match="no readable HDF5 file"):
        read_weights(tmp_path / "weights.h5")


@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.99])
def test_truncated_files(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match="no readable HDF5 file"):
        read_weights(path)


def test_the_tiny_network_has_all_kinds_of_weights():
    assert len(random_arrays(TINY)) == 1 + 4 + 9 * sum(TINY.units) + 2 + 2


@pytest.mark.parametrize("count", [300, 4_000])
def test_many_names_that_are_one_long_text_in_the_file(tmp_path, count):
    path, size = tmp_path / "heap.h5", 100_000
    with h5py.File(path, "w") as file:
        file.attrs.create("layer_names", ["x" * size, *["y"] * (count - 1)], dtype=h5py.string_dtype())
    content = path.read_bytes()
    at = content.index(size.to_bytes(4, "little"))  # the first reference to a text: its length and its place
    path.write_bytes(content[:at] + content[at : at + 16] * count + content[at + 16 * count :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"heap\.h5 is no readable HDF5 file: its (names|index)"):
        read_weights(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
