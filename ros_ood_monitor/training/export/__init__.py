"""What leaves a training as ONNX: the backbone with its taps, and the scorer behind them."""
