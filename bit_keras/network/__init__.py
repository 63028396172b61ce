"""The network: its layers and their arithmetic, the model, folding, freezing and class names."""
