"""D4RL's tasks and data, and the same learners as the robot's on them."""
