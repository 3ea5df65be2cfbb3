"""Episode logs: what one holds, how it is written while the robot walks, and how one from outside is read."""
