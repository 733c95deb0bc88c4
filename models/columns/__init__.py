"""The feature stage: named columns become features of a fixed width, in front of any encoder and learner."""
