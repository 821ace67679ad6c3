"""Tests of real parts from outside: the LiteLLM proxy with our plugin, engines, the HTTP API."""
