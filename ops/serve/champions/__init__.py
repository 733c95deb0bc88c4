"""Aliases as servers show them: who answers, how a comparison stands, and promotions over HTTP."""
