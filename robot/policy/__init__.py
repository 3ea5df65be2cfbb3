"""The policy artifact: the contract between a network and the robot, written and checked."""
