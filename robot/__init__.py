"""What a Go1 is and does: constants, observation, reward, contracts, control loop. numpy, h5py and onnxruntime only."""
