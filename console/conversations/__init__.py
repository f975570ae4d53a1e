"""Conversations: what instructors read. Nothing in here writes."""
