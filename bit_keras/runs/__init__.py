"""What fine-tuning, pre-training and distillation have in common: settings, the folder of a run, `fit`, the outcome.

Its modules are imported by their names: `import bit_keras` needs the settings alone, not what trains and plots.
"""
