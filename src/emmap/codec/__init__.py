"""Python values to bytes and back, for what stores and queues keep."""
