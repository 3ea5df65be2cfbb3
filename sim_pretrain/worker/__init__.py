"""The process border: a simulator in an interpreter of its own, behind legged_gym's interface. Files here run on Python 3.8 too."""
