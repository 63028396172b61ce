"""Program: exports a BiT for Cloud TPUs, in two forms. Neither has ever been run on a TPU.

Examples:
    bit-export tpu --model=BiT-M-R50x1-ILSVRC2012 --output=exported/tpu --batch_sizes=1,8

OUTPUT/converter is for Google's Inference Converter, which inserts the TPU's operations: a SavedModel for CPUs with the
alias "tpu_func" for the function to move (https://cloud.google.com/tpu/docs/v5e-inference-converter). OUTPUT/direct
already contains these operations and has the tags {serve, tpu}. The program checks what can be checked on a CPU.
"""

from absl import flags

from bit_keras.network.model import BiT
from bit_keras.saved_models.summary import table
from bit_keras.saved_models.tpu import export_tpu
from bit_keras.system.command_line import integers
from bit_keras.system.paths import check_new


def main() -> None:
    values = flags.FLAGS
    check_new("output", values.output)  # before a download
    artefacts = export_tpu(
        BiT.from_preset(values.model, dtype="float32"),
        values.output,
        batch_sizes=integers("batch_sizes", values.batch_sizes),
        resolution=values.resolution,
    )
    print(table(artefacts))
    print(f"SavedModels in {values.output}/converter and {values.output}/direct")
    print("Checked on a CPU. Never run on a TPU; the speeds are not those of one.")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Name of published weights, or path or address of a weight file.", required=True)
    flags.DEFINE_string("output", None, "Directory to create.", required=True)
    flags.DEFINE_list("batch_sizes", ["1", "8"], "Batch sizes for which a TPU compiles the network.")
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side in pixels to which images are resized; by default that of the weights' training, or 224 if it is not "
        "known.",
    )
