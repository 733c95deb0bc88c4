"""Versions to servers on other hosts: what is published here is announced, and what is announced is published there."""
