"""The command coalmine-lb: how haproxy stands, and what is switched in it.

Standard library only: it runs with the Python of the load balancer's host.
"""
