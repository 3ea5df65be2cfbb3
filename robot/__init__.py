"""What a Go1 is and does: constants, observation, reward, contracts, control loop. numpy, h5py, onnx and onnxruntime only."""
