"""The network: layers and their arithmetic, the model, folding, freezing, memory and class names."""
