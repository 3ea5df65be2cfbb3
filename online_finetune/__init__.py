"""PPO on the robot's own episodes, while it goes on walking."""
