"""Pretraining in simulation: environment on the twin, reward shaping, PPO, export."""
