"""Program: runs damaged copies of a SavedModel, and prints how many of them ran and how many were refused.

python damaged_graphs.py SAVED_MODEL SCRATCH COUNT
"""

import random
import shutil
import sys
from pathlib import Path

from bit_keras.checkpoints import CheckpointError
from bit_keras.inference.classifier import SavedModelClassifier

source, scratch, count = sys.argv[1:]
whole = Path(source, "saved_model.pb").read_bytes()
outcomes = {"ran": 0, "refused": 0}
for seed in range(int(count)):
    numbers, content = random.Random(seed), bytearray(whole)
    for _ in range(numbers.choice([1, 2, 20])):
        content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(7)  # texts remain ASCII
    if seed % 4 == 3:
        content = content[: numbers.randrange(len(content))]
    shutil.copytree(source, scratch)
    Path(scratch, "saved_model.pb").write_bytes(content)
    try:
        SavedModelClassifier(Path(scratch))
        outcomes["ran"] += 1
    except CheckpointError:
        outcomes["refused"] += 1
    shutil.rmtree(scratch)
print(outcomes)
