"""What GPUs can compute at most, from the data sheets of their makers."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """A GPU.

    Attributes:
        name: as the driver begins it.
        half: type of numbers of its fastest training, "bfloat16" or, where its matrix units lack that, "float16".
        peak: floating-point operations per second in that type, dense, with sums in float32.
        source: the data sheet.
    """

    name: str
    half: str
    peak: float
    source: str


# The first row whose name fits counts. Data sheets give twice the rate where zeros are skipped ("with sparsity").
CHIPS = (
    Chip("NVIDIA H200 NVL", "bfloat16", 835e12, "NVIDIA H200 Tensor Core GPU data sheet"),
    Chip("NVIDIA H200", "bfloat16", 989e12, "NVIDIA H200 Tensor Core GPU data sheet"),
    Chip("NVIDIA H100 PCIe", "bfloat16", 756e12, "NVIDIA H100 Tensor Core GPU data sheet"),
    Chip("NVIDIA H100 NVL", "bfloat16", 835e12, "NVIDIA H100 Tensor Core GPU data sheet"),
    Chip("NVIDIA H100", "bfloat16", 989e12, "NVIDIA H100 Tensor Core GPU data sheet"),
    Chip("NVIDIA A100", "bfloat16", 312e12, "NVIDIA A100 Tensor Core GPU data sheet"),
    Chip("NVIDIA L4", "bfloat16", 121e12, "NVIDIA L4 Tensor Core GPU data sheet"),
    Chip("Tesla T4", "float16", 65e12, "NVIDIA T4 Tensor Core GPU data sheet"),
    Chip("Tesla V100-PCIE", "float16", 112e12, "NVIDIA V100 Tensor Core GPU data sheet"),
    Chip("Tesla V100", "float16", 125e12, "NVIDIA V100 Tensor Core GPU data sheet"),
)


def find_chip(name: str) -> Chip | None:
    """Returns the row of a GPU by the name that its driver gives; None for one that is not in the table."""
    words = name.split()
    return next((chip for chip in CHIPS if _begins(words, chip.name.split())), None)


def _begins(words: list[str], expected: list[str]) -> bool:
    """Whether all words but the last are the same, and the last one the same up to "-": "L4" is not "L40S"."""
    if len(words) < len(expected) or words[: len(expected) - 1] != expected[:-1]:
        return False
    word, last = words[len(expected) - 1], expected[-1]
    return word == last or word.startswith(f"{last}-")
