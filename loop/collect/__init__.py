"""`quadloop collect`: a person at a robot, and the walks that are logged."""
