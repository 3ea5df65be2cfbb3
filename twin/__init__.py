"""The simulated Go1: built from robot's constants, thousands at once or one as a driver, evaluation and pictures. No torch."""
