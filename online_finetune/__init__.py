"""PPO on the robot's own episodes; so far on its twin, which waits while the policy learns."""
