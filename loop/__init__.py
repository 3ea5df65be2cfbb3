"""Puts the rooms together: the verbs that need a robot and a learner at once, and the whole loop with its report."""
