"""Tests of policies and of a service through its phases."""
