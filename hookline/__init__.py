"""Hookline takes any webhook, keeps it, and runs the flow it belongs to."""
