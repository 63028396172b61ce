"""Common to fine-tuning, pre-training and distillation: settings, the folder of a run, `fit`, evaluation and report.

Import its modules by name: `import bit_keras` needs only the settings, not the modules that train and plot.
"""
