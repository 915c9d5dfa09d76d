"""Shared by all tests: pytest's own fixture for running pytest inside a test."""

from __future__ import annotations

pytest_plugins = ["pytester"]
