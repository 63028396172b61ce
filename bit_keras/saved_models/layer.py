"""Keras 3 layer that runs or fine-tunes a SavedModel: the counterpart of hub.KerasLayer of tf_keras.

A SavedModel is a TensorFlow graph, so the layer needs the tensorflow backend; TensorFlow is imported in functions.
"""

import functools
import inspect
import numbers
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
from keras.src.saving.serialization_lib import in_safe_mode  # Keras has no public name for it

from bit_keras import checkpoints
from bit_keras.checkpoints.readers.hub_module import check_variables, is_saved_model
from bit_keras.checkpoints.remote.addresses import is_url
from bit_keras.saved_models.archive import unpacked
from bit_keras.system.checks import WrongType, check_kind, check_names, describe
from bit_keras.system.logs import logger
from bit_keras.system.paths import expanded
from bit_keras.zoo.presets import PRESETS

_ARGUMENTS = (
    *("handle", "trainable", "arguments", "signature", "output_key", "output_shape", "tags", "embed"),
    *("dtype", "name", "activity_regularizer", "autocast", "input_shape", "batch_shape"),  # of every Keras layer
)
# Arguments of hub.KerasLayer that this layer lacks, with the reason or the replacement for the error message.
_INSTEAD = {
    "load_options": "the layer has none",
    "signature_outputs_as_dict": "a signature returns all its outputs, or that of output_key",
}


@keras.saving.register_keras_serializable(package="bit_keras")
class SavedModelLayer(keras.layers.Layer):
    """Runs a SavedModel, and trains it if it is reusable, in any Keras 3 model on the tensorflow backend.

    A reusable SavedModel has `__call__`, `variables`, `trainable_variables` and `regularization_losses`
    (https://www.tensorflow.org/hub/reusable_saved_models): those of `bit_keras.export_saved_model` and the TF2
    modules of TF Hub are. The layer's weights share memory with its variables. Its regularization losses are added to
    the model's loss while the layer is trainable. `__call__` is called with training=True only if the model trains
    *and* the layer is trainable.

    The graph runs in the precision in which it was saved, whatever the dtype policy of the model, and is never compiled
    by `jit_compile="auto"`: XLA would recompile a restored graph for every value that changes in training.

    Args:
        handle: local directory of a SavedModel; kaggle://owner/model/framework/variation[/version]; address of a tar
            archive such as https://host/module.tar.gz; name of published weights that have a TF Hub module; or a
            loaded object. A layer with a loaded object has no configuration; layers with the same object share weights.
        trainable: whether training updates the weights; None for True, or for False with a `signature`.
        arguments: further keyword arguments of the call, JSON-serializable. "training" here takes precedence over the
            `training` argument of the layer.
        signature: name of the signature to call, for a SavedModel without `__call__`. Its input is a tensor, or a
            dictionary {input name: tensor}. It cannot be trained, and the layer then has no weights.
        output_key: which output to return if there is a dictionary of them; None for all.
        output_shape: sizes of the output without N, such as [2048], with None for an unknown size, for a SavedModel
            that does not state them; a list or dictionary of these if there are several outputs. None for what the
            SavedModel states. It is compared with each output.
        tags: of the graph in the SavedModel, None if it has only one. The inference graph of a TF1 Hub module has [].
        embed: whether `model.save` stores the SavedModel in the .keras file, next to the weights, so that the file can
            be loaded where `handle` does not exist; `handle` must be a directory.
        dtype: what floating-point inputs are cast to; integers and strings are passed on unchanged.

    Input shape: that of the SavedModel. For BiT: [N, H, W, 3] in **[0, 1]**, any N, H and W.
    Output shape: that of the SavedModel, or `output_shape`.

    Raises:
        NotImplementedError: the backend is not tensorflow.
        FileNotFoundError: the directory does not exist.
        ValueError: the directory has no SavedModel, the SavedModel cannot be called with these arguments, or an
            argument is out of its range; on a call, the outputs contradict `output_shape`.
        ConnectionError: the SavedModel cannot be downloaded.
        TypeError: an argument is unknown.

    A SavedModel is a program, which can do anything that this process may do: use only those of known origin. So
    `keras.saving.load_model` needs `safe_mode=False` for a .keras file with this layer.

    Example:
        >>> layer = bit_keras.SavedModelLayer("exported", trainable=True)  # by `export_saved_model`, or of TF Hub
        >>> model = keras.Sequential([keras.Input((None, None, 3)), layer])
        >>> model(np.zeros((1, 32, 32, 3), "float32")).shape  # images in [0, 1]
        TensorShape([1, 2])
    """

    def __init__(
        self,
        handle,
        trainable: bool | None = None,
        arguments: Mapping | None = None,
        signature: str | None = None,
        output_key: str | None = None,
        output_shape: Sequence | Mapping | None = None,
        tags: Sequence[str] | None = None,
        embed: bool = False,
        dtype="float32",
        **kwargs,
    ):
        check_names("SavedModelLayer", kwargs, _ARGUMENTS, _INSTEAD)
        trainable, embed = check_kind("trainable", trainable, bool | None), check_kind("embed", embed, bool)
        signature, output_key = (
            check_kind("signature", signature, str | None),
            check_kind("output_key", output_key, str | None),
        )
        tags = check_kind("tags", tags, Sequence[str] | None)
        if not isinstance(arguments, Mapping | None):
            raise WrongType(f"arguments must be a dictionary or None; got {describe(arguments)}")
        if isinstance(handle, str | os.PathLike):
            handle = check_kind("handle", handle, str | os.PathLike)
        elif not callable(handle) and not hasattr(handle, "signatures"):
            raise WrongType(
                f"handle must be the directory or address of a SavedModel, or a loaded object; got {describe(handle)}"
            )
        if keras.backend.backend() != "tensorflow":
            raise NotImplementedError(
                "a SavedModel is a TensorFlow graph, which Keras can run and differentiate on the tensorflow backend "
                f"only, got {keras.backend.backend()}: set KERAS_BACKEND=tensorflow before keras is imported; the "
                "weights of a BiT can be read on every backend: bit_keras.BiT.from_preset(directory)"
            )
        if trainable and signature is not None:
            raise ValueError(
                f"a signature cannot be trained: trainable must be False or None, got True with {signature=}; "
                "without one, a reusable SavedModel is trained through its __call__"
            )
        super().__init__(dtype=dtype, **kwargs)
        if self.compute_dtype != self.variable_dtype:
            raise ValueError(
                "a SavedModel runs in the precision in which it was saved: dtype must be that of its inputs, such as "
                f"'float32', got the mixed policy {self.dtype_policy.name!r}"
            )
        self.supports_jit = False
        self.handle = os.fspath(handle) if isinstance(handle, os.PathLike) else handle
        self.arguments = dict(arguments or {})
        self.signature = signature
        self.output_key = output_key
        self._output_shape = None if output_shape is None else _sizes(output_shape)
        self.tags = None if tags is None else list(tags)
        self.embed = embed
        made = []
        if isinstance(handle, _Awaited):
            self.handle, made = handle.handle, handle.made
        elif isinstance(self.handle, str):
            self._directory = _directory(self.handle)
            handle, made = _load(self._directory, self.tags)
        elif embed:
            raise ValueError(f"embed needs the directory of a SavedModel, got {handle!r}")
        variables, self._num_trained = _variables(handle, signature)
        # Each shares memory with the variable of the SavedModel.
        self._variables = [
            keras.Variable(variable, trainable=k < self._num_trained, autocast=False, name=_name(variable))
            for k, variable in enumerate(variables)
        ]
        positions = {id(variable): k for k, variable in enumerate(variables)}
        self._made = [positions.get(id(variable)) for variable in made]
        self._use(handle)
        self.trainable = signature is None if trainable is None else trainable  # last: freezing needs the variables
        if self.trainable and not self.trainable_variables:
            logger.warning("layer %s is trainable, but %s has no trainable variables", self.name, self.handle)

    def _use(self, module) -> None:
        """Makes the layer call `module` and adds its regularization losses."""
        function = _function(module, self.signature, self.handle)
        takes_training = self.signature is None and _takes_training(module)

        def call(inputs, training: bool):
            arguments = {"training": training, **self.arguments} if takes_training else self.arguments
            if self.signature is not None and isinstance(inputs, Mapping):
                return function(**inputs, **arguments)
            return function(inputs, **arguments)

        # In closures: TensorFlow tracks attributes and would find the variables of the module a second time.
        self._call = call
        self._module = lambda: module
        losses = list(getattr(module, "regularization_losses", ()))
        # Keras collects losses from trainable variables; the first one returns the sum of all.
        for variable in self._variables[: min(self._num_trained, len(losses), 1)]:
            variable.regularizer = lambda _: sum(loss() for loss in losses)

    def call(self, inputs, training=None):
        outputs = self._chosen(self._call(inputs, bool(training and self.trainable)))
        return outputs if self._output_shape is None else _map_sizes(self._with_sizes, outputs, self._output_shape)

    def _chosen(self, outputs):
        if self.output_key is None:
            return outputs
        names = sorted(outputs) if isinstance(outputs, Mapping) else []
        if self.output_key not in names:
            raise ValueError(f"output_key must be None or one of {names} for {self.handle}, got {self.output_key!r}")
        return outputs[self.output_key]

    def _with_sizes(self, output, sizes: list[int | None]):
        """Returns an output with a static shape [N, *sizes]; in a graph, its values are checked when it is run."""
        import tensorflow as tf

        fault = f"output_shape must be the shape of the output without N, got {sizes} for {self.handle}, which returns"
        expected = tf.TensorShape([None, *sizes])
        if not expected.is_compatible_with(output.shape):
            raise ValueError(f"{fault} {output.shape}")
        if output.shape.rank is None or any(a is None and b is not None for a, b in zip(output.shape, expected)):
            shape = tf.shape(output)
            right = tf.equal(tf.size(shape), len(expected))
            with tf.control_dependencies([tf.debugging.Assert(right, [fault, shape])]):
                right = [shape[axis] == size for axis, size in enumerate(expected) if size is not None]
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(right), [fault, shape])]):
                output = tf.identity(output)
            output.set_shape(expected)
        return output

    def compute_output_spec(self, inputs, training=None):
        module = self._module()
        if isinstance(module, _Awaited):
            return module.outputs
        return keras.Operation.compute_output_spec(self, inputs, training=training)

    def compute_output_shape(self, input_shape):
        inputs = keras.tree.map_shape_structure(lambda s: keras.KerasTensor(s, self.input_dtype), input_shape)
        return keras.tree.map_structure(lambda output: output.shape, self.compute_output_spec(inputs))

    def get_config(self):
        if not isinstance(self.handle, str):
            raise ValueError(
                f"a layer has a configuration if its handle is a directory, an address or a name, got {self.handle!r}"
            )
        config = {
            "handle": self.handle,
            # A signature cannot be trained, whatever `trainable` has been set to.
            "trainable": self.trainable and self.signature is None,
            "arguments": keras.saving.serialize_keras_object(self.arguments),
            "signature": self.signature,
            "output_key": self.output_key,
            "output_shape": self._output_shape,
            "tags": self.tags,
            "embed": self.embed,
        }
        if self.embed:
            config["awaited"] = self._describe()
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        safe_mode = in_safe_mode()  # None if no file is being loaded, as in keras.models.clone_model
        if safe_mode:
            raise ValueError(
                f"a SavedModelLayer runs the graph of the SavedModel {config['handle']!r}, which can do anything that "
                "this process may do: if you trust it, load with safe_mode=False"
            )
        config = {**config, "arguments": keras.saving.deserialize_keras_object(config["arguments"])}
        awaited = config.pop("awaited", None)
        if awaited is not None and safe_mode is False:
            config["handle"] = _Awaited(config["handle"], **awaited)
        return cls(**config)

    def _describe(self) -> dict:
        """Returns what `_Awaited` needs, for the time until the assets of a .keras file are loaded."""
        module = self._module()
        if isinstance(module, _Awaited):
            module()  # raises
        variables = [{"name": v.name, "shape": list(v.shape), "dtype": v.dtype} for v in self._variables]
        outputs = self._chosen(_outputs(_function(module, self.signature, self.handle)))
        if self._output_shape is not None:
            outputs = _map_sizes(_with_static_sizes, outputs, self._output_shape)
        outputs = keras.tree.map_structure(lambda spec: keras.KerasTensor(spec.shape, spec.dtype.name), outputs)
        return {
            "variables": variables,
            "num_trained": self._num_trained,
            "made": list(self._made),
            "outputs": keras.saving.serialize_keras_object(outputs),
        }

    def save_assets(self, inner_path):
        if self.embed:
            shutil.copytree(self._directory, os.path.join(inner_path, "saved_model"))

    def load_assets(self, inner_path):
        if not self.embed:
            return
        # A copy for the layer's lifetime: Keras deletes its own, and the SavedModel still reads its assets.
        folder = tempfile.mkdtemp(prefix="saved_model_layer_")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.handle = self._directory = shutil.copytree(
            os.path.join(inner_path, "saved_model"), os.path.join(folder, "saved_model")
        )
        # The same variables again: optimizers already refer to them, and `load_own_variables` has set their values.
        values = [variable.numpy() for variable in self._variables]
        memory = [variable.value for variable in self._variables]
        module, _ = _load(self._directory, self.tags, [None if k is None else memory[k] for k in self._made])
        for variable, loaded, value in zip(self._variables, _variables(module, self.signature)[0], values, strict=True):
            if loaded is not variable.value:
                raise ValueError(f"the SavedModel in the file must fit its configuration, {variable.path} does not")
            variable.assign(value)
        self._use(module)


class _Awaited:
    """Placeholder for the SavedModel in a .keras file, until Keras loads the assets after the configuration.

    Attributes:
        handle: of the layer.
        variables, trainable_variables: zeros in the shapes of the SavedModel's variables.
        made: the variables in the order in which the SavedModel creates its own; None for those not in `variables`.
        outputs: what a call returns, KerasTensors.
    """

    def __init__(self, handle: str, variables: list[dict], num_trained: int, made: list[int | None], outputs):
        import tensorflow as tf

        self.handle = handle
        self.variables = [tf.Variable(tf.zeros(v["shape"], v["dtype"]), name=v["name"]) for v in variables]
        self.trainable_variables = self.variables[:num_trained]
        self.made = [None if k is None else self.variables[k] for k in made]
        self.outputs = keras.saving.deserialize_keras_object(outputs)

    def __call__(self, *args, **kwargs):
        raise ValueError(
            f"the SavedModel that was {self.handle!r} is stored in a .keras file: load it with keras.saving.load_model"
        )


def _directory(handle: str) -> Path:
    """Returns the local directory of `handle`, which is downloaded if it is remote."""
    handle = re.sub(r"^https://(www\.)?kaggle\.com/models/", "kaggle://", handle)  # the address in a browser
    if handle in PRESETS:
        path, _ = checkpoints.locate(handle, file_format="hub")
    elif is_url(handle):
        path, _ = checkpoints.locate(handle)
        path = unpacked(path) if path.is_file() else path
    else:
        path = Path(expanded(handle))
    if not path.is_dir():
        raise FileNotFoundError(f"no SavedModel directory: {path}")
    if not is_saved_model(path):
        raise ValueError(f"a SavedModel has a file saved_model.pb at its top, {path} has {sorted(os.listdir(path))}")
    return path


def _load(directory: str | os.PathLike, tags: list[str] | None, into: Sequence = ()):
    """Loads a SavedModel.

    Args:
        directory: of the SavedModel.
        tags: of the graph.
        into: existing variables to load into, in order of creation; new ones are created for None and after the last.

    Returns:
        (the loaded object, [its variables, in order of creation]).
    """
    import tensorflow as tf

    made = []

    def make(next_creator, **kwargs):
        given = into[len(made)] if len(made) < len(into) else None
        made.append(next_creator(**kwargs) if given is None else given)
        return made[-1]

    if tags is None and Path(directory, "tfhub_module.pb").is_file():
        raise ValueError(
            f"{directory} is a TF1 Hub module, which cannot be trained. To call it: SavedModelLayer(handle, "
            'signature="default", output_key="default", tags=[]). A BiT can be trained all the same: '
            "bit_keras.BiT.from_preset(handle) reads its weights"
        )
    check_variables(directory)
    try:
        with tf.variable_creator_scope(make):
            return tf.saved_model.load(os.fspath(directory), tags), made
    except Exception as error:  # TensorFlow raises any type for a damaged graph
        raise ValueError(f"the SavedModel {directory} cannot be loaded: {error}") from error


def _function(module, signature: str | None, handle) -> Callable:
    """Returns what the layer calls."""
    signatures = getattr(module, "signatures", {})
    if isinstance(module, _Awaited) or (signature is None and callable(module)):
        return module
    if signature is None:
        raise ValueError(
            f"{handle!r} has no __call__, so that it cannot be trained; signature must be one of "
            f"{sorted(signatures)}, got None"
        )
    if signature not in signatures:
        raise ValueError(f"signature must be one of {sorted(signatures)} for {handle!r}, got {signature!r}")
    return signatures[signature]


def _takes_training(module) -> bool:
    """Returns whether a call takes `training`; loaded objects show it in the signature of `__call__` only."""
    return any("training" in inspect.signature(each).parameters for each in (module, module.__call__))


def _variables(module, signature: str | None) -> tuple[list, int]:
    """Returns (the variables of the layer's weights, trainable ones first; the number of trainable ones)."""
    if signature is not None:
        return [], 0
    trained = list(getattr(module, "trainable_variables", ()))
    known = {id(variable) for variable in trained}
    others = [variable for variable in getattr(module, "variables", ()) if id(variable) not in known]
    return trained + others, len(trained)


def _sizes(output_shape):
    """Returns `output_shape` in lists, dictionaries and integers, as JSON has them."""
    if isinstance(output_shape, Mapping):
        return {name: _sizes(sizes) for name, sizes in output_shape.items()}
    if (
        isinstance(output_shape, str | bytes)
        or not isinstance(output_shape, Iterable)
        or getattr(output_shape, "ndim", 1) == 0
    ):
        raise ValueError(f"output_shape must be a list of sizes without N, such as [2048], got {output_shape!r}")
    sizes = list(output_shape)
    if _is_shape(sizes):
        return [None if size is None else int(size) for size in sizes]
    return [_sizes(each) for each in sizes]


def _is_shape(sizes) -> bool:
    return isinstance(sizes, Sequence) and all(
        size is None or (isinstance(size, numbers.Integral) and size >= 0) for size in sizes
    )


def _with_static_sizes(spec, sizes: list[int | None]):
    """Returns a tf.TensorSpec with the shape [N, *sizes]."""
    return type(spec)(spec.shape.merge_with([None, *sizes]), spec.dtype)


def _map_sizes(function: Callable, outputs, sizes):
    """Returns `outputs` after `function(output, sizes)` for each of them."""
    if isinstance(sizes, Mapping) and isinstance(outputs, Mapping) and sizes.keys() == outputs.keys():
        return {name: _map_sizes(function, outputs[name], sizes[name]) for name in outputs}
    if _is_shape(sizes) and not isinstance(outputs, (Mapping, list, tuple)):
        return function(outputs, list(sizes))
    if isinstance(sizes, Sequence) and isinstance(outputs, (list, tuple)) and len(sizes) == len(outputs):
        return [_map_sizes(function, *pair) for pair in zip(outputs, sizes)]
    several = sorted(outputs) if isinstance(outputs, Mapping) else isinstance(outputs, (list, tuple)) and len(outputs)
    raise ValueError(f"output_shape must have a shape for each output, {several or 1}, got {sizes}")


def _name(variable) -> str:
    return variable.name.removesuffix(":0").replace("/", "_")


def _outputs(function):
    """Returns tf.TensorSpecs of the outputs of a restored function, with None for sizes in which its traces differ."""
    import tensorflow as tf

    traces = [function] if hasattr(function, "structured_outputs") else function.__call__.concrete_functions
    return tf.nest.map_structure(
        lambda *specs: tf.TensorSpec(
            functools.reduce(lambda a, b: a.most_specific_compatible_shape(b), (spec.shape for spec in specs)),
            specs[0].dtype,
        ),
        *(trace.structured_outputs for trace in traces),
    )
