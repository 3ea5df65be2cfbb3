"""`quadloop inject`: faults, rehearsed on the twin through the processes that run on a robot."""
