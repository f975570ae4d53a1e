"""Who gets what, and what hostile requests and texts come to."""
