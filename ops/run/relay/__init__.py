"""Learners and servers on different hosts: who sends, who follows, and what they tell each other besides versions."""
