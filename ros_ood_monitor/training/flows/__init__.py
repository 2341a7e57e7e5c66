"""The flow of the method: its steps, its training, and its exact folding into affine maps."""
