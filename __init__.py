"""Filigrana."""
