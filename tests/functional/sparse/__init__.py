"""Layers that skip zeros."""
