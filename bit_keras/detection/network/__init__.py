"""The network of a detector: pyramid and heads, anchors, matching, losses, and from its outputs to boxes."""
