"""Several learner processes of one service: which models each of them has."""
