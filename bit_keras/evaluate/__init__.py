"""Evaluation on every example exactly once, as a function and as a program (`python -m bit_keras.evaluate`)."""
