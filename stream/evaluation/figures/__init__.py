"""Figures: what is made of graded answers, over all events and over a recent window, and how sure it is."""
