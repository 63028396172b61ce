"""Evaluation of every example once, as a function and as a program (`python -m bit_keras.evaluate`)."""
