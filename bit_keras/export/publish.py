"""Program: publishes an exported model on Kaggle Models or the Hugging Face hub; by default a dry run.

Examples:
    bit-export publish --directory=exported/m-r50x1 --to=kaggle --handle=OWNER/bit/tensorFlow2/m-r50x1 --version=1
    bit-export publish --directory=exported/m-r50x1 --to=huggingface --handle=OWNER/bit-m-r50x1 --version=1 \\
        --nodry_run
"""

from absl import flags

from bit_keras.saved_models.publish import HANDLES, publish
from bit_keras.system.texts import counted


def main() -> None:
    values = flags.FLAGS
    handle, uploads = publish(values.directory, values.to, values.handle, values.version, values.dry_run)
    for upload in uploads:
        print(f"{upload.sha256}  {upload.num_bytes:>13,}  {upload.path}")
    total = f"{counted(len(uploads), 'file')}, {sum(upload.num_bytes for upload in uploads):,} bytes"
    if values.dry_run:
        print(f"dry run: --nodry_run uploads {total} to {values.to} as {handle}")
    else:
        print(f"{values.to} has {handle}: {total}")


def define_flags() -> None:
    flags.DEFINE_string("directory", None, "What to publish: a SavedModel, or a folder of model files.", required=True)
    flags.DEFINE_enum("to", None, list(HANDLES), "Hub to publish on.", required=True)
    handles = "; ".join(f"{place}: {form}" for place, (form, _) in HANDLES.items())
    flags.DEFINE_string("handle", None, f"Name on the hub. {handles}.", required=True)
    flags.DEFINE_integer("version", None, "Number of this version, 1 for the first.", required=True)
    flags.DEFINE_boolean("dry_run", True, "List what would be uploaded, without a network.")
