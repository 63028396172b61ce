"""Program: exports a module for TF Hub, a reusable SavedModel that also returns the outputs of its stages.

Examples:
    bit-export hub --module=m-r50x1 --output=exported
    bit-export hub --model=workdir/weights.npz --kind=classification --class_names=names.txt --output=exported
"""

from absl import flags

from bit_keras.network.class_names import class_names
from bit_keras.network.model import BiT
from bit_keras.saved_models.hub import export_module
from bit_keras.saved_models.summary import Artefact, table
from bit_keras.system import command_line
from bit_keras.system.paths import check_new, expanded
from bit_keras.system.texts import read_names
from bit_keras.zoo import presets
from bit_keras.zoo.modules import TASKS, get_module


def main() -> None:
    values = flags.FLAGS
    if (values.module is None) == (values.model is None):
        raise command_line.UsageError("either --module or --model must be given, not both")
    if values.labels and values.class_names:
        raise command_line.UsageError("either --labels or --class_names may be given, not both")
    artefact = _export(values)
    print(table([artefact]))
    print(f"module in {artefact.path}, archive and summary.json beside it")


def _export(values: flags.FlagValues) -> Artefact:
    preset, kind, name = values.model, values.kind, "module"
    if values.module is not None:
        spec = get_module(values.module)
        preset, kind, name = spec.preset, spec.kind, spec.name
    check_new("output", values.output)  # before a download
    names = _class_names(values, preset)
    model = BiT.from_preset(preset)
    if preset in presets.PRESETS and model.num_classes != presets.PRESETS[preset].num_classes:
        raise ValueError(
            f"the weights of {preset} must have {presets.PRESETS[preset].num_classes} classes, got {model.num_classes}"
        )
    return export_module(model, values.output, kind, names, name)


def _class_names(values: flags.FlagValues, preset: str) -> list[str] | None:
    if values.labels:
        labels = presets.get_preset(preset).labels
        if labels is None:
            raise ValueError(f"no list of classes was published for {preset}; give --class_names")
        return [f"{wordnet_id} {lemmas}" for wordnet_id, lemmas in class_names(labels)]
    return None if values.class_names is None else read_names("class_names", expanded(values.class_names))


def define_flags() -> None:
    flags.DEFINE_string("module", None, "Module of the catalogue to export; see hub_modules/pages/.")
    flags.DEFINE_string("model", None, "Name, path or address of the weights of a classifier.")
    flags.DEFINE_enum("kind", "classification", list(TASKS), "Kind of module, for --model.")
    flags.DEFINE_string(
        "class_names", None, "Text file with one class name per line; those of the weights if not given."
    )
    flags.DEFINE_boolean("labels", False, "Download the class names that were published with the weights.")
    flags.DEFINE_string("output", None, "Folder to create, for module, archive and summary.", required=True)
